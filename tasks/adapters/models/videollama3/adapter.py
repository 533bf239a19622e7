"""LoRA adapters of VideoLLaMA3: small matrices that were trained beside its weights, and are added to them.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models". Files are those that peft writes. An
adapter is merged as the model is loaded: then the model is as large and as fast as before, and peft is not
needed.
"""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from tasks.adapters.models.checkpoints import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    FILES_READ,
    Checkpoint,
    read_json,
)
from tasks.adapters.models.videollama3.config import native_name
from tasks.core.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

TARGETS = r".*\.language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
"""The layers that are tuned: the linear ones of the language model. Vision is left as it is."""

WEIGHT = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
"""How peft names the two matrices of a layer."""

PLAIN: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_dora": (False,),
    "lora_bias": (False,),
    "alpha_pattern": ({},),
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
}
"""What a config may say, where it says anything: other kinds of LoRA are not merged by adding a product."""


def check_adapter(adapter: Checkpoint, base: Checkpoint) -> None:
    """Check by the small files and names alone that an adapter can be merged into a checkpoint.

    Raises:
        ModelError: it is of another kind, or was trained on another checkpoint.
    """
    config = _config(adapter)
    revision = config.get("revision")
    if revision and base.revision and revision != base.revision:
        raise ModelError(
            f"deep.adapter {adapter.model} was trained on {config.get('base_model_name_or_path')} at "
            f"revision {revision}, and deep.model {base.model} is at {base.revision}: name that one, or "
            "tune again.",
            reason="model_invalid",
        )
    try:
        with safe_open(adapter.path / ADAPTER_WEIGHTS, framework="numpy") as weights:
            _layers(list(weights.keys()), adapter)
    except (SafetensorError, OSError) as error:
        raise _invalid(adapter, f"{ADAPTER_WEIGHTS} is cut short or broken: {error}") from error


def merge_adapter(model: nn.Module, adapter: Checkpoint) -> None:
    """Add an adapter to the weights of a model.

    Raises:
        ModelError: it is of another kind, or belongs to another model.
    """
    import torch  # takes seconds, and what is checked above needs none of it

    matrices = _matrices(adapter)
    for name in matrices:
        try:
            layer = model.get_submodule(name)
        except AttributeError:
            layer = None
        if not isinstance(layer, torch.nn.Linear):
            raise _invalid(adapter, f"the model has no layer {name}")
        layer.weight.data = _merged(layer.weight.data, name, matrices, adapter)


def write_merged(base: Checkpoint, adapter: Checkpoint, folder: Path) -> None:
    """Write a copy of a checkpoint, in its own layout and precision, with the adapter in its weights.

    Raises:
        ModelError: the adapter belongs to another model.
    """
    from safetensors.torch import load_file, save_file

    matrices, part = _matrices(adapter), folder.with_name(f"{folder.name}.part")
    missing = set(matrices)
    part.mkdir(parents=True)
    try:
        for file in sorted({each for pattern in FILES_READ for each in base.path.glob(pattern)}):
            if file.suffix != ".safetensors":
                shutil.copyfile(file, part / file.name)
                continue
            tensors = load_file(file)
            for name, layer in [(each, native_name(each).removesuffix(".weight")) for each in tensors]:
                if layer in missing:
                    missing.remove(layer)
                    tensors[name] = _merged(tensors[name], layer, matrices, adapter)
            save_file(tensors, part / file.name, metadata={"format": "pt"})
        if missing:
            raise _invalid(adapter, f"{base.model} has no layer {min(missing)}")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def trained_on(adapter: Checkpoint) -> tuple[str, str]:
    """The checkpoint that an adapter was trained on, and its revision.

    Raises:
        ModelError: it does not say.
    """
    config = _config(adapter)
    if not (model := config.get("base_model_name_or_path")):
        raise _invalid(adapter, f"{ADAPTER_CONFIG} has no base_model_name_or_path")
    return str(model), str(config.get("revision") or "")


def _matrices(adapter: Checkpoint) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """For each layer its two matrices, of which the second is scaled."""
    from safetensors.torch import load_file

    config, weights = _config(adapter), load_file(adapter.path / ADAPTER_WEIGHTS)
    found = {}
    for layer in _layers(list(weights), adapter):
        down, up = (weights[f"base_model.model.{layer}.lora_{side}.weight"].float() for side in "AB")
        root = math.sqrt(len(down)) if config.get("use_rslora") else len(down)
        found[layer] = (down, up * (config["lora_alpha"] / root))
    return found


def _merged(
    weight: torch.Tensor,
    layer: str,
    matrices: dict[str, tuple[torch.Tensor, torch.Tensor]],
    adapter: Checkpoint,
) -> torch.Tensor:
    """`W + scale * B A`, added up in float32."""
    down, up = (each.to(weight.device) for each in matrices[layer])
    if weight.shape != (len(up), down.shape[1]) or len(down) != up.shape[1]:
        raise _invalid(
            adapter, f"it is for a layer {layer} of {len(up)}x{down.shape[1]}, here it is {[*weight.shape]}"
        )
    merged = weight.float() + up @ down
    if not merged.isfinite().all():
        raise _invalid(adapter, f"it holds values that are no numbers, of layer {layer}")
    return merged.to(weight.dtype)


def _config(adapter: Checkpoint) -> dict[str, Any]:
    config = read_json(adapter, ADAPTER_CONFIG)
    for name, known in PLAIN.items():
        if name in config and config[name] not in known:
            raise _invalid(adapter, f"{ADAPTER_CONFIG} has {name} {config[name]!r}, not {known[0]!r}")
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _invalid(adapter, f"{ADAPTER_CONFIG} has lora_alpha {alpha!r}, which is no number")
    return config


def _layers(names: list[str], adapter: Checkpoint) -> list[str]:
    """The layers that an adapter has both matrices of, and nothing else."""
    sides: dict[str, set[str]] = {}
    for name in names:
        if (found := WEIGHT.fullmatch(name)) is None:
            raise _invalid(adapter, f"it has a weight {name}, which is none of a plain LoRA")
        sides.setdefault(found["layer"], set()).add(found["side"])
    if half := [layer for layer, there in sides.items() if there != {"A", "B"}]:
        raise _invalid(adapter, f"it has one of two matrices of {half[0]}")
    if not sides:
        raise _invalid(adapter, "it has no weights")
    return sorted(sides)


def _invalid(adapter: Checkpoint, why: str) -> ModelError:
    return ModelError(
        f"deep.adapter {adapter.model} cannot be merged: {why}. Name one that was trained on deep.model.",
        reason="model_invalid",
    )
