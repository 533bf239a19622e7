"""Where models run and in which precision."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from tasks.core.records import Backend

T = TypeVar("T")

LOADING = threading.Lock()
"""Held while weights are loaded: transformers changes PyTorch's default dtype for the whole process."""

_MODELS = ThreadPoolExecutor(1, "models")


def on_model_thread(work: Callable[[], T]) -> T:
    """What the work returns, done by the one thread of this process in which models compute.

    One at a time: two at once would take the memory that each counts on. And always the same thread:
    PyTorch's libraries keep buffers for each thread that ever called them, as long as it lives, and a flow
    has a thread for each of a video's mapped tasks until it ends.

    Raises:
        Exception: what the work raised.
    """
    return _MODELS.submit(work).result()


def pick_device() -> torch.device:
    """The GPU if PyTorch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def backend_of(device: torch.device, dtype: torch.dtype) -> Backend:
    """The same in words."""
    return Backend(device.type, str(dtype).removeprefix("torch."))


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
