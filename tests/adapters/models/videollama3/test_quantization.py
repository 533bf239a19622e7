"""A quantized VideoLLaMA3 is smaller, nearly the same, and loaded as strictly as any other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.quantization import KEPT, is_quantized
from tasks.core.errors import ModelError
from tests import FIXTURES

ORIGINAL = FIXTURES / "videollama3-original-tiny"

QUANTIZED = {"int8": "Linear8bitLt", "int4": "Linear4bit"}

WIDE = {
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 1024,
    },
    "vision_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "patch_size": 14,
    },
    "tie_word_embeddings": True,
    "video_token_id": 1,
    "image_token_id": 1,
}


@pytest.fixture(scope="module")
def original() -> Checkpoint:
    return resolve_checkpoint(str(ORIGINAL))


@pytest.fixture(scope="module")
def native(original: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The weights of `original` in the library's own layout."""
    folder = tmp_path_factory.mktemp("native")
    load_model(original, dtype=torch.float32).save_pretrained(folder, save_original_format=False)
    return resolve_checkpoint(str(folder))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint as wide as a small language model, random."""
    folder = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    model = VideoLlama3ForConditionalGeneration(VideoLlama3Config(**WIDE))
    model.save_pretrained(folder, save_original_format=False)
    return resolve_checkpoint(str(folder))


@pytest.fixture(scope="module")
def exact(wide: Checkpoint) -> torch.Tensor:
    """What it gives in float32."""
    return logits(load_model(wide, dtype=torch.float32))


def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(2, 1000, (2, 60), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        scores: torch.Tensor = model(input_ids=ids).logits.float()
    return scores


def changed(checkpoint: Checkpoint, folder: Path, **weights: torch.Tensor | None) -> Checkpoint:
    """A copy of a checkpoint with some weights replaced, or left out where None."""
    folder.mkdir()
    stored = {**load_file(checkpoint.path / "model.safetensors"), **weights}
    kept = {name: weight for name, weight in stored.items() if weight is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_bytes((checkpoint.path / "config.json").read_bytes())
    return resolve_checkpoint(str(folder))


@pytest.mark.parametrize("quantization", ["int8", "int4"])
@pytest.mark.parametrize("layout", ["original", "native"])
def test_the_language_models_linear_layers_are_quantized_and_nothing_else(
    layout: str, quantization: str, request: pytest.FixtureRequest
) -> None:
    # Imported by no other test: it has PyTorch's compiler imported, for seconds.
    from bitsandbytes import nn

    checkpoint = request.getfixturevalue(layout)
    model = load_model(checkpoint, dtype=torch.bfloat16, quantization=quantization)
    quantized = getattr(nn, QUANTIZED[quantization])
    layers = {name for name, module in model.named_modules() if isinstance(module, quantized)}
    assert layers == {name for name, module in model.named_modules() if is_quantized(name, module)}
    assert len(layers) == 3 * 7  # q, k, v, o, gate, up and down of each layer
    numbers = {name: weight.dtype for name, weight in model.named_parameters()}
    assert {numbers.pop(f"{name}.weight") for name in layers} <= {torch.int8, torch.uint8}
    assert set(numbers.values()) == {torch.bfloat16}
    assert any(name.startswith(KEPT) for name in numbers)


@pytest.mark.parametrize(("quantization", "share"), [("int8", 1 / 4), ("int4", 1 / 8)])
def test_quantized_weights_take_their_share_of_float32(
    wide: Checkpoint, quantization: str, share: float
) -> None:
    def bytes_of(model: Any) -> int:
        return sum(m.weight.nbytes for name, m in model.named_modules() if is_quantized(name, m))

    plain = load_model(wide, dtype=torch.float32)
    quantized = load_model(wide, dtype=torch.float32, quantization=quantization)
    assert bytes_of(quantized) == share * bytes_of(plain)


# Random weights are the hardest to round: nothing in them is redundant. Alone, a weight changes by
# 0.8 % in 8 bits and by 9 % in 4 (root mean square).
@pytest.mark.parametrize(("quantization", "error"), [("int8", 0.05), ("int4", 0.4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantized_logits_stay_near_those_in_float32(
    wide: Checkpoint, exact: torch.Tensor, dtype: torch.dtype, quantization: str, error: float
) -> None:
    rounded = logits(load_model(wide, dtype=dtype, quantization=quantization))
    assert 0 < (rounded - exact).norm() / exact.norm() < error


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_both_layouts_of_the_same_weights_give_equal_quantized_logits(
    original: Checkpoint, native: Checkpoint, quantization: str
) -> None:
    first, second = (
        logits(load_model(checkpoint, dtype=torch.float32, quantization=quantization))
        for checkpoint in (original, native)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"model.layers.1.mlp.up_proj.weight": None}, r"1 missing.*layers\.1\.mlp\.up_proj\.weight"),
        ({"model.layers.1.self_attn.q_proj.bias": None}, r"1 missing.*q_proj\.bias"),
        ({"model.vision_encoder.post_layernorm.weight": None}, r"1 missing.*post_layernorm\.weight"),
        ({"model.layers.1.mlp.up_proj.SCB": torch.ones(1)}, r"1 unexpected.*up_proj\.SCB"),
        # 32768 numbers as they should be, but in another shape.
        ({"model.layers.1.mlp.up_proj.weight": torch.ones(128, 256)}, r"1 mismatched.*up_proj\.weight"),
        ({"model.layers.1.self_attn.q_proj.bias": torch.ones(7)}, r"1 mismatched.*q_proj\.bias"),
        ({"model.norm.weight": torch.ones(7)}, r"1 mismatched.*norm\.weight"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    original: Checkpoint,
    tmp_path: Path,
    weights: dict[str, torch.Tensor | None],
    said: str,
    quantization: str,
) -> None:
    broken = changed(original, tmp_path / "broken", **weights)
    with pytest.raises(ModelError, match=said) as caught:
        load_model(broken, dtype=torch.float32, quantization=quantization)
    assert caught.value.reason == "model_invalid"


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_without_the_library_the_error_says_how_to_get_it(
    original: Checkpoint, monkeypatch: pytest.MonkeyPatch, quantization: str
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModelError, match=r"pip install 'hookline\[quantization\]'") as caught:
        load_model(original, dtype=torch.float32, quantization=quantization)
    assert caught.value.reason == "model_unavailable"
    assert load_model(original, dtype=torch.float32) is not None


def test_a_quantized_product_says_nothing(wide: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    logits(load_model(wide, dtype=torch.bfloat16, quantization="int8"))
    assert not caplog.records
