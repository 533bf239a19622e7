"""A LoRA adapter is merged into the weights as these are loaded, or it is said why it cannot be."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.adapters.models.checkpoints import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Checkpoint,
    on_this_machine,
    resolve_adapter,
    resolve_checkpoint,
)
from tasks.adapters.models.videollama3.adapter import TARGETS, check_adapter, write_merged
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.core.errors import ModelError

LAYER = "model.language_model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def base(demo_models: Path) -> Checkpoint:
    return resolve_checkpoint(str(demo_models / "videollama3"))


@pytest.fixture(scope="module")
def model(base: Checkpoint) -> Any:
    return load_model(base, dtype=torch.float32)


def write_adapter(folder: Path, model: Any, *, rank: int = 4, **config: Any) -> Path:
    """An adapter of random numbers for every layer that is tuned."""
    torch.manual_seed(0)
    weights = {}
    for name, layer in model.named_modules():
        if re.fullmatch(TARGETS, name):
            out, into = layer.weight.shape
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, into) / 8
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(out, rank) / 8
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / ADAPTER_WEIGHTS)
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", **config}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("config", "scale"), [({}, 2.0), ({"use_rslora": True}, 4.0), ({"lora_alpha": 2}, 0.5)]
)
def test_the_product_of_both_matrices_is_added_to_each_layer(
    tmp_path: Path, base: Checkpoint, model: Any, config: dict[str, Any], scale: float
) -> None:
    adapter = resolve_adapter(str(write_adapter(tmp_path / "adapter", model, **config)))
    check_adapter(adapter, base)
    merged = dict(load_model(replace(base, adapter=adapter), dtype=torch.float32).named_parameters())
    weights, changed = load_file(adapter.path / ADAPTER_WEIGHTS), 0
    for name, before in model.named_parameters():
        prefix = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{prefix}.lora_A.weight" in weights:
            before = before + scale * weights[f"{prefix}.lora_B.weight"] @ weights[f"{prefix}.lora_A.weight"]
            changed += 1
        torch.testing.assert_close(merged[name], before, atol=1e-6, rtol=1e-6)
    assert changed == 2 * 7  # layers of the demo, and linear ones in each


def test_weights_keep_their_precision(tmp_path: Path, base: Checkpoint, model: Any) -> None:
    adapter = resolve_adapter(str(write_adapter(tmp_path, model)))
    merged = load_model(replace(base, adapter=adapter), dtype=torch.bfloat16)
    assert {weight.dtype for weight in merged.parameters()} == {torch.bfloat16}


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
        (folder / ADAPTER_CONFIG).write_text(json.dumps(config | changes))

    return change


def change_weight(name: str, weight: torch.Tensor | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / ADAPTER_WEIGHTS)
        weights |= {} if weight is None else {name: weight}
        weights = {each: weights[each] for each in weights if weight is not None or each != name}
        save_file(weights, folder / ADAPTER_WEIGHTS)

    return change


UP = f"base_model.model.{LAYER}.lora_B.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / ADAPTER_CONFIG).unlink(), "has no adapter_config.json"),
        (lambda folder: (folder / ADAPTER_WEIGHTS).write_bytes(b"cut"), "is cut short or broken"),
        (change_config(peft_type="LOHA"), "has peft_type 'LOHA', not 'LORA'"),
        (change_config(use_dora=True), "has use_dora True, not False"),
        (change_config(alpha_pattern={"x": 2}), "has alpha_pattern"),
        (change_config(init_lora_weights="pissa"), "has init_lora_weights 'pissa'"),
        (change_config(lora_alpha=None), "lora_alpha None, which is no number"),
        (change_config(revision="sha256:another"), "was trained on .* at revision sha256:another"),
        (change_weight(UP, None), f"one of two matrices of {LAYER}"),
        (
            change_weight("base_model.model.lm_head.weight", torch.zeros(2)),
            "a weight base_model.model.lm_head",
        ),
        (change_weight(UP, torch.zeros(3, 4)), rf"a layer {LAYER} of 3x64"),
        (change_weight(UP, torch.full((128, 4), torch.nan)), "values that are no numbers, of layer"),
        (change_weight(UP.replace("layers.0", "layers.7"), torch.zeros(2, 4)), "one of two matrices of"),
    ],
)
def test_what_cannot_be_merged_is_named(
    tmp_path: Path, base: Checkpoint, model: Any, change: Callable[[Path], None], said: str
) -> None:
    def load() -> None:
        adapter = resolve_adapter(str(tmp_path))
        check_adapter(adapter, base)
        load_model(replace(base, adapter=adapter), dtype=torch.float32)

    change(write_adapter(tmp_path, model))
    with pytest.raises(ModelError, match=said):
        load()


@pytest.mark.parametrize("layout", ["original", "native"])
def test_a_whole_checkpoint_has_the_weights_that_are_merged_otherwise(
    tmp_path: Path, base: Checkpoint, model: Any, layout: str
) -> None:
    """Whatever else belongs to the checkpoint is copied."""
    if layout == "native":
        folder = shutil.copytree(base.path, tmp_path / "native")
        model.save_pretrained(folder, save_original_format=False)
        base = resolve_checkpoint(str(folder))
    adapter = resolve_adapter(str(write_adapter(tmp_path / "adapter", model)))
    write_merged(base, adapter, tmp_path / "whole")
    there = {path.name for path in (tmp_path / "whole").iterdir()}
    assert there >= {"config.json", "model.safetensors", "tokenizer.json"}
    whole = load_model(resolve_checkpoint(str(tmp_path / "whole")), dtype=torch.float32)
    merged = load_model(replace(base, adapter=adapter), dtype=torch.float32)
    for (name, one), other in zip(whole.named_parameters(), merged.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_no_half_of_a_checkpoint_is_left(tmp_path: Path, base: Checkpoint, model: Any) -> None:
    change_weight(UP, torch.zeros(3, 4))(write_adapter(tmp_path / "adapter", model))
    with pytest.raises(ModelError, match="of 3x64, here it is"):
        write_merged(base, resolve_adapter(str(tmp_path / "adapter")), tmp_path / "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_adapter_that_was_copied_is_the_same(tmp_path: Path, model: Any) -> None:
    """Whatever lies beside it."""
    folders = [write_adapter(tmp_path / name, model) for name in ("one", "two")]
    (folders[1] / "card.md").write_text("# Another")
    (folders[1] / "notes.json").write_text("{}")
    places = (str(folders[0]), f"file://{folders[1]}")
    one, two = (resolve_adapter(place).revision for place in places)
    assert one == two
    change_config(lora_alpha=16)(folders[1])
    assert resolve_adapter(str(folders[1])).revision != one


def test_a_worker_finds_both_or_says_which_is_another(tmp_path: Path, base: Checkpoint, model: Any) -> None:
    adapter = resolve_adapter(str(write_adapter(tmp_path / "adapter", model)))
    tuned = replace(base, adapter=replace(adapter, path=Path("/elsewhere")))
    assert on_this_machine(tuned) == replace(base, adapter=adapter)
    change_config(lora_alpha=16)(tmp_path / "adapter")
    with pytest.raises(ModelError, match="give all machines the same files"):
        on_this_machine(replace(tuned, path=base.path.with_name("nowhere")))
