"""How much memory VideoLLaMA3 takes. All sizes are bytes."""

from __future__ import annotations

from typing import Any

import torch

from tasks.adapters.models.videollama3.kv_cache import MAX_STEP_TOKENS, PREFILL_CHUNK_TOKENS
from tasks.adapters.models.videollama3.quantization import is_quantized

BYTES_PER_WEIGHT = {"int8": 1.0, "int4": 1 / 2 + 1 / 64 + 4 / (64 * 256)}
"""Of a quantized weight. In 4 bits each 64 weights share a scale of 8 bits, and each 256 scales one of
32 bits (Dettmers et al. 2023, QLoRA, section 3)."""


def row_bytes(config: Any, *, tokens: int, itemsize: int) -> int:
    """One segment of a batch: its keys and values in every layer, and its vision features.

    `config` is a `VideoLlama3Config`, `tokens` all that the segment comes to have: frames, text and
    answer; `itemsize` the bytes of a number in the cache.
    """
    text = config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = 2 * text.num_hidden_layers * text.num_key_value_heads * head
    return int((cache + text.hidden_size) * itemsize * tokens)


def weight_bytes(config: Any, *, quantization: str, itemsize: int) -> int:
    """The weights of a model of this `VideoLlama3Config`, derived: none is loaded or made.

    `itemsize` is the bytes of a weight that is not quantized. Tied weights count once.
    """
    from transformers import VideoLlama3ForConditionalGeneration

    with torch.device("meta"):
        model = VideoLlama3ForConditionalGeneration(config)
    total: int = sum(weight.numel() for weight in model.parameters())
    rounded: int = sum(m.weight.numel() for name, m in model.named_modules() if is_quantized(name, m))
    return round((total - rounded) * itemsize + rounded * BYTES_PER_WEIGHT.get(quantization, itemsize))


def step_bytes(config: Any, *, tokens: int, itemsize: int) -> int:
    """What one segment adds to the widest step: the mask over its `tokens`, and what it is made of.

    For the steps that are recorded as CUDA graphs, too, each of which keeps what it works with.
    """
    text = config.text_config
    group = text.num_attention_heads // text.num_key_value_heads
    return int(2 * group * MAX_STEP_TOKENS * tokens * (itemsize + 1))


def working_bytes(config: Any, *, tokens: int, patches: int, itemsize: int) -> int:
    """What passes hold besides weights and rows: of `patches` of frames, or a chunk of a prompt of `tokens`.

    Counted by the tensors that are alive at the widest point of a layer. `test_on_a_gpu.py` holds it
    against what a pass takes.
    """
    vision, text = config.vision_config, config.text_config
    # Queries and keys are turned in float32; or an MLP is as wide as it gets.
    turning = vision.hidden_size * (7 * 4 + 5 * itemsize)
    widest = max(turning, (2 * vision.intermediate_size + 3 * vision.hidden_size) * itemsize)
    picture = 3 * vision.patch_size**2 * 4
    frames = patches * (widest + picture)
    # Gate, up and their product beside the residual; the prompt itself, and where each query head needs
    # keys of its own (see `shares_heads`) those of one layer.
    chunk = PREFILL_CHUNK_TOKENS * (3 * text.intermediate_size + 5 * text.hidden_size) * itemsize
    prompt = 5 * tokens * text.hidden_size * itemsize
    return int(max(frames, chunk + prompt))
