"""Where models run and in which precision."""

from __future__ import annotations

import threading

import torch

LOADING = threading.Lock()
"""Held while weights are loaded: transformers changes PyTorch's default dtype for the whole process."""


IN_USE = threading.Lock()
"""Held while a model computes: two at once would take the memory that each counts on."""


def pick_device() -> torch.device:
    """The GPU if PyTorch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32.

    GPUs from compute capability 8.0 (Ampere) do, and CPUs with AMX tiles (2.7 against 0.7 VideoMAE
    windows a second on two such cores). CPUs that know only the AVX512-BF16 instructions do not
    count: on two such cores VideoMAE base made 0.33 windows a second, against 0.53 in float32.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return torch.bfloat16 if native else torch.float32
