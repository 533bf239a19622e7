"""Rounding the weights of VideoLLaMA3's language model to fewer bits, through bitsandbytes.

int8 is LLM.int8() (Dettmers et al. 2022): weights and inputs in 8 bits, but for inputs beyond 6, which
keep their precision. int4 is NF4 with double quantization (Dettmers et al. 2023, QLoRA): weights in
4 bits, multiplied in the model's own precision. On GPUs int8 needs compute capability 7.5, int4 6.0.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch
from torch import nn

from tasks.core.errors import ModelError

KEPT = ("model.vision_model", "model.projector", "lm_head")
"""Parts of the model that keep their precision. The embeddings do, too: they are no linear layers."""

NOISY = ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops")
"""These warn at every product in int8 that the inputs are on their way to 8 bits by float16 (what
float16 cannot hold is beyond 6 and left out), and at every import that an optional package is missing."""


def quantization_config(quantization: str, *, dtype: torch.dtype) -> Any:
    """What `from_pretrained` takes as its `quantization_config`: for `none`, `int8` or `int4`.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if quantization == "none":
        return None
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise ModelError(
            f"deep.quantization {quantization} needs bitsandbytes ({error}). Install it with "
            "`pip install 'hookline[quantization]'`, or set deep.quantization to none.",
            reason="model_unavailable",
        ) from error
    from transformers import BitsAndBytesConfig

    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(KEPT))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(KEPT),
    )


def is_quantized(name: str, module: nn.Module) -> bool:
    """Whether a module of this name is one whose weight is rounded."""
    return isinstance(module, nn.Linear) and not name.startswith(KEPT)


def misshapen_weights(model: nn.Module) -> set[str]:
    """Weights of linear layers that do not have their layer's shape.

    transformers reports those as mismatched, except where it quantizes: there it takes any shape.
    """
    misshapen = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            # A weight in 4 bits is packed; its shape is kept beside it.
            packed = getattr(module.weight, "quant_state", None)
            shape = module.weight.shape if packed is None else packed.shape
            if tuple(shape) != (module.out_features, module.in_features):
                misshapen.add(f"{name}.weight")
    return misshapen
