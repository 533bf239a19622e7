"""What errors of CUDA mean: no memory, which passes, or a GPU that is lost to this process."""

from __future__ import annotations

import torch

from tasks.core.errors import GpuLost

NO_MEMORY = (
    "out of memory",  # CUDA's runtime and driver
    "allocate memory",  # PyTorch's allocator for the CPU
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"),
    *("CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_NOT_INITIALIZED"),
)
"""How errors say that memory was short, if not by their type. cuBLAS and cuDNN take memory of their own when
they are first called, and on a full card they call themselves not initialized."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short: less of it may well be enough."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(said in str(error) for said in NO_MEMORY):
        return True
    # Where the end of a capture fails, that is only what came of the error before.
    return error.__context__ is not None and is_out_of_memory(error.__context__)


def raise_if_gpu_lost(error: BaseException) -> None:
    """Nothing, unless an error of CUDA has broken this process's context: then every later call would fail.

    An illegal access or a defect of the card does, an error of a library need not: the GPU itself is asked.

    Raises:
        GpuLost: the GPU answers with an error.
    """
    if not isinstance(error, torch.AcceleratorError) and "CUDA error" not in str(error):
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as answer:
        said = str(answer).partition("\n")[0]
        # Not chained: what was raised first may hold all that was on the card.
        raise GpuLost(f"The GPU is lost to this process ({said}): see dmesg and nvidia-smi.") from None
