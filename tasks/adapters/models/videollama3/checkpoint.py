"""Reading VideoLLaMA3 checkpoints: the library's own layout and the original one of DAMO-NLP-SG.

Zhang et al. 2025, "VideoLLaMA 3: Frontier Multimodal Foundation Models for Image and Video
Understanding". The original checkpoints ask for remote code; here only their figures are read, into
transformers' own classes, with names and config converted. No code of a checkpoint is ever executed.
"""

from __future__ import annotations

from typing import Any

import torch

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.gpu_errors import is_out_of_memory
from tasks.adapters.models.memory import free_bytes
from tasks.adapters.models.videollama3.adapter import merge_adapter
from tasks.adapters.models.videollama3.config import ORIGINAL, ORIGINAL_NAMES, native_config, read_config
from tasks.adapters.models.videollama3.memory import weight_bytes
from tasks.adapters.models.videollama3.quantization import misshapen_weights, quantization_config
from tasks.core.errors import ModelError


def load_model(
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype,
    quantization: str = "none",
    device: torch.device | None = None,
) -> Any:
    """Load the weights of either layout into a `VideoLlama3ForConditionalGeneration`.

    It is on `device` (None: the CPU) and in `dtype`, but for the language model's linear layers with
    `quantization` int8 or int4. The checkpoint's adapter is merged into it.

    Raises:
        ModelError: the architecture is another one, or weights are missing, unknown or misshapen (the
            message names them), or the library that quantizes is missing, or the adapter cannot be merged.
        torch.OutOfMemoryError: the weights do not fit on the device.
    """
    from safetensors import SafetensorError
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = read_config(checkpoint)
    original = config["model_type"] == ORIGINAL
    described = native_config(config, model=checkpoint.model) if original else config
    native = VideoLlama3Config(**described)
    quantized = quantization_config(quantization, dtype=dtype)
    _check_fits(native, quantization=quantization, dtype=dtype, device=device)
    try:
        model, report = VideoLlama3ForConditionalGeneration.from_pretrained(
            checkpoint.path,
            config=native,
            key_mapping=ORIGINAL_NAMES if original else None,
            dtype=dtype,
            device_map={"": str(device or "cpu")},
            quantization_config=quantized,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (KeyError, OSError, ValueError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{checkpoint.model} cannot be loaded as VideoLLaMA3: {error}. Fetch it again, whole.",
            reason="model_invalid",
        ) from error
    report["mismatched_keys"] |= misshapen_weights(model)
    # transformers only logs these, and fills what does not fit with random numbers.
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in report[fault]):
            raise ModelError(
                f"{checkpoint.model} does not fit VideoLLaMA3: {len(names)} {fault.replace('_', ' ')} "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}). Fetch the checkpoint again, "
                "whole.",
                reason="model_invalid",
            )
    if checkpoint.adapter:
        merge_adapter(model, checkpoint.adapter)
    return model.eval()


def _check_fits(config: Any, *, quantization: str, dtype: torch.dtype, device: torch.device | None) -> None:
    """Before loading, because an error in the midst of quantizing does not say that memory was short."""
    if device is None or device.type != "cuda":
        return
    needed = weight_bytes(config, quantization=quantization, itemsize=dtype.itemsize)
    if needed > (free := free_bytes(device)):
        raise torch.OutOfMemoryError(
            f"its weights take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free on {device}: "
            "free some, or set deep.quantization to int8 or int4"
        )
