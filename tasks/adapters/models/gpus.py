"""Which GPUs this machine has. Needs no PyTorch, which takes seconds to import."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from tasks.core.errors import ModelError

DEVICES = Path("/dev")
DRIVER = Path("/proc/driver/nvidia")
"""Where NVIDIA's driver for Linux says which version it is, and which GPUs it has."""

LIST_TIMEOUT_S = 30.0
"""How long `nvidia-smi` may take: it waits for a driver that hangs."""

NO_GPU = ("-1", "NoDevFiles")
"""What CUDA_VISIBLE_DEVICES has where GPUs are hidden on purpose, the second under Slurm."""


def seen_gpus() -> list[str]:
    """The ids of the GPUs that this process may see, as CUDA_VISIBLE_DEVICES names them.

    Each slice of a card that is cut into such (MIG) is one. Some may be of no use to PyTorch; see
    `why_unusable`.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        ids = takewhile(lambda gpu: gpu not in NO_GPU, map(str.strip, named.split(",")))
        return [gpu for gpu in ids if gpu]
    if listed := _listed():
        return listed
    nodes = len(list(DEVICES.glob("nvidia[0-9]*")))
    # There may be no nodes before the first use, and in a container there are none without NVIDIA's toolkit.
    return [str(number) for number in range(max(nodes, len(list(DRIVER.glob("gpus/*")))))]


def _listed() -> list[str]:
    """The UUIDs that `nvidia-smi` lists; none where it is missing or does not answer."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=LIST_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    cards: list[list[str]] = []
    for kind, uuid in re.findall(r"UUID: ((?:GPU|MIG)-)([\w/-]+)", answer.stdout):
        if kind == "GPU-":
            cards.append([kind + uuid])
        else:
            cards[-1].append(kind + uuid)
    return [gpu for card, *slices in cards for gpu in slices or [card]]


def find_gpus(count: int, *, device: str = "auto") -> list[str]:
    """The ids of `count` GPUs, or of all for 0; none for `device` cpu.

    If there are fewer GPUs, the other ids are empty: these workers see no GPU and work on the CPU.

    Raises:
        ModelError: `device` is cuda, and there are not as many.
    """
    there = [] if device == "cpu" else seen_gpus()
    if device == "cuda" and len(there) < max(count, 1):
        raise ModelError(
            f"engine.device is cuda, but {len(there)} of {max(count, 1)} GPUs are seen here: look at what "
            "`nvidia-smi -L` and CUDA_VISIBLE_DEVICES say, lower engine.gpu_workers, or set engine.device to "
            "auto.",
            reason="gpu_unusable",
        )
    return [*there, *[""] * count][:count] if count else there


def driver_version() -> str | None:
    """The version of NVIDIA's driver, e.g. 580.95.05; None where Linux knows none."""
    with suppress(OSError):
        if found := re.search(r"\s(\d{3,}\.\d+(\.\d+)?)\s", (DRIVER / "version").read_text()):
            return found[1]
    return None


def is_without_cuda() -> bool:
    """Whether nothing in this process can compute on a GPU: none is seen, and there is no driver."""
    if seen_gpus():
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False
