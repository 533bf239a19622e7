"""How much memory VideoLLaMA3 takes, and how many segments fit beside it. All sizes are bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch

from tasks.adapters.models.videollama3.quantization import is_quantized

CGROUP = Path("/sys/fs/cgroup")
"""Where a process in a container finds the limits of its control group (version 2)."""

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


def free_bytes(device: torch.device, *, cgroup: Path = CGROUP) -> int:
    """What may still be taken on a device.

    On a GPU all that is free, and what PyTorch holds without using it. Of the CPU's memory half: other
    processes live there, and the disk's cache.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    available = int(psutil.virtual_memory().available)
    return min(available, _room_in(cgroup, otherwise=available)) // 2


def fitting_batch(free: int, *, row: int, reserve: int, most: int) -> int:
    """How many segments fit at once: as many as `most`, and never less than one.

    `row` is one segment's memory, `reserve` what is left alone for everything else.
    """
    return max(1, min(most, (free - reserve) // row))


def _room_in(cgroup: Path, *, otherwise: int) -> int:
    """What a control group may still take; file cache that nobody uses gives way, so it is no use."""
    try:
        # Without a limit this says "max".
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        cache = dict(line.split() for line in lines).get("inactive_file", 0)
    except (OSError, ValueError):
        return otherwise
    return max(0, limit - used + int(cache))
