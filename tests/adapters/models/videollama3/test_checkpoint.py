"""Both layouts of VideoLLaMA3 checkpoints give the model that was published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.videollama3 import config as config_module
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.core.errors import ModelError
from tests import FIXTURES

FIXTURE = FIXTURES / "videollama3-original-tiny"
"""A random checkpoint in the original layout, and what the original code computed from it."""


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    return load_file(FIXTURE / "reference.safetensors")


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(resolve_checkpoint(str(FIXTURE)), dtype=torch.float32)


def copy_of(folder: Path, target: Path, **changes: object) -> Checkpoint:
    """A copy of a checkpoint with some fields of its config changed."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    return resolve_checkpoint(str(target))


def inputs(model: Any, reference: dict[str, torch.Tensor], *, compressed: bool) -> dict[str, Any]:
    mask = reference["compression_mask"].bool()
    ids = reference["input_ids"]
    kept = torch.ones_like(ids, dtype=torch.bool)
    features = reference["features"]
    if compressed:
        kept[ids == model.config.video_token_id] = mask
        features = features[mask]
    return {
        "input_ids": ids[kept][None],
        "mm_encoder_outputs": {"video": BaseModelOutputWithPooling(pooler_output=[features])},
    }


@torch.inference_mode()
def test_converted_features_equal_the_original_codes(model: Any, reference: dict[str, torch.Tensor]) -> None:
    output = model.model.get_video_features(
        reference["pixel_values"], reference["grid_thw"], reference["merge_sizes"]
    )
    torch.testing.assert_close(torch.cat(output.pooler_output), reference["features"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", ["compressed", "uncompressed"])
@torch.inference_mode()
def test_converted_logits_and_tokens_equal_the_original_codes(
    model: Any, reference: dict[str, torch.Tensor], kind: str
) -> None:
    given = inputs(model, reference, compressed=kind == "compressed")
    torch.testing.assert_close(model(**given).logits, reference[f"logits_{kind}"], atol=2e-5, rtol=0)
    given = inputs(model, reference, compressed=kind == "compressed")
    answer = model.generate(**given, max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert torch.equal(answer[:, given["input_ids"].shape[1] :], reference[f"tokens_{kind}"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.vision_encoder.post_layernorm.weight", r"missing.*\.vision_model\.post_layernorm\.weight"),
        ("model.mm_projector.readout.2.bias", r"missing.*model\.projector\.readout\.2\.bias"),
        ("model.embed_tokens.weight", r"missing.*embed_tokens\.weight|missing.*lm_head"),
    ],
)
def test_a_checkpoint_missing_a_tensor_is_refused_by_name(tmp_path: Path, name: str, said: str) -> None:
    checkpoint = copy_of(FIXTURE, tmp_path / "broken")
    weights = load_file(checkpoint.path / "model.safetensors")
    del weights[name]
    save_file(weights, checkpoint.path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=said) as caught:
        load_model(checkpoint, dtype=torch.float32)
    assert caught.value.reason == "model_invalid"


def test_an_unknown_or_misshapen_tensor_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = copy_of(FIXTURE, tmp_path / "broken")
    weights = load_file(checkpoint.path / "model.safetensors")
    save_file(
        {**weights, "model.surprise": torch.ones(1)},
        checkpoint.path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError, match=r"unexpected.*model\.surprise"):
        load_model(checkpoint, dtype=torch.float32)
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, checkpoint.path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"mismatched.*norm\.weight"):
        load_model(checkpoint, dtype=torch.float32)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = copy_of(FIXTURE, tmp_path / "other", model_type="llama")
    with pytest.raises(ModelError, match="'llama' checkpoint, not VideoLLaMA3"):
        load_model(checkpoint, dtype=torch.float32)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    checkpoint = copy_of(FIXTURE, tmp_path / "short")
    weights = checkpoint.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(checkpoint, dtype=torch.float32)


@torch.inference_mode()
def test_both_layouts_of_the_same_weights_give_equal_logits(
    model: Any, reference: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path, save_original_format=False)
    native = load_model(resolve_checkpoint(str(tmp_path)), dtype=torch.float32)
    logits = [m(**inputs(m, reference, compressed=True)).logits for m in (model, native)]
    assert torch.equal(*logits)


def test_untied_embeddings_need_their_own_head(tmp_path: Path) -> None:
    checkpoint = copy_of(FIXTURE, tmp_path / "untied", tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"missing.*lm_head\.weight"):
        load_model(checkpoint, dtype=torch.float32)
    weights = load_file(checkpoint.path / "model.safetensors")
    weights["lm_head.weight"] = torch.ones_like(weights["model.embed_tokens.weight"])
    save_file(weights, checkpoint.path / "model.safetensors", metadata={"format": "pt"})
    model = load_model(checkpoint, dtype=torch.float32)
    assert torch.equal(model.lm_head.weight, weights["lm_head.weight"])


@torch.inference_mode()
def test_a_checkpoint_of_the_original_training_code_gives_the_same_features(
    reference: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wraps the vision encoder once more, and names it instead of describing it."""
    checkpoint = copy_of(FIXTURE, tmp_path / "trained")
    config = json.loads((checkpoint.path / "config.json").read_text())
    monkeypatch.setattr(config_module, "VISION_ENCODER", config.pop("vision_encoder_config"))
    config["vision_encoder"] = "DAMO-NLP-SG/SigLIP-NaViT"
    (checkpoint.path / "config.json").write_text(json.dumps(config))
    encoder = "model.vision_encoder."
    weights = {
        name.replace(encoder, f"{encoder}vision_encoder."): tensor
        for name, tensor in load_file(checkpoint.path / "model.safetensors").items()
    }
    save_file(weights, checkpoint.path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(checkpoint, dtype=torch.float32)
    output = loaded.model.get_video_features(
        reference["pixel_values"], reference["grid_thw"], reference["merge_sizes"]
    )
    torch.testing.assert_close(torch.cat(output.pooler_output), reference["features"], atol=2e-6, rtol=0)
