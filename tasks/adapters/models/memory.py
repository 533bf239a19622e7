"""How much memory is free on a device, and what fits there. All sizes are bytes."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

CGROUP = Path("/sys/fs/cgroup")
"""Where a process in a container finds the limits of its control group (version 2)."""

RESERVED_BYTES = 2**28
"""Left alone on a device: workspaces of cuBLAS, kernels that are loaded when first used, and gaps."""


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


def of_gpu() -> tuple[int, int] | None:
    """Bytes of this process's GPU that are used, by whomever, and that it has; None without one."""
    if not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    return total - free, total


def fitting_batch(free: int, *, row: int, reserve: int, most: int) -> int:
    """How many rows of a batch fit at once: as many as `most`, and never less than one.

    `row` is the memory of one, `reserve` what the batch takes besides.
    """
    return max(1, min(most, (free - reserve - RESERVED_BYTES) // row))


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
