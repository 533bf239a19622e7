"""Where models run and in which precision."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

from tasks.adapters.models.cpu import cpu_dtype, cpu_name
from tasks.adapters.models.gpu_errors import raise_if_gpu_lost
from tasks.adapters.models.gpus import driver_version, seen_gpus
from tasks.core.devices import Backend, Device
from tasks.core.errors import ModelError

T = TypeVar("T")

LOADING = threading.Lock()
"""Held while weights are loaded: transformers changes PyTorch's default dtype for the whole process."""

DRIVERS = {"12": 525, "13": 580}
NEWEST_DRIVER = max(DRIVERS.values())
"""NVIDIA's driver for Linux that the versions of CUDA need at least (CUDA release notes, table 2)."""

_MODELS = ThreadPoolExecutor(1, "models")


def on_model_thread(work: Callable[[], T]) -> T:
    """What the work returns, done by the one thread of this process in which models compute.

    One at a time: two at once would take the memory that each counts on. And always the same thread:
    PyTorch's libraries keep buffers for each thread that ever called them, as long as it lives, and a flow
    has a thread for each of a video's mapped tasks until it ends.

    Raises:
        GpuLost: an error of CUDA was not the last one.
        Exception: what the work raised.
    """
    return _MODELS.submit(_checked, work).result()


def _checked(work: Callable[[], T]) -> T:
    try:
        return work()
    except RuntimeError as error:
        raise_if_gpu_lost(error)
        raise


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values of the CPU on a device, without waiting for what that is still doing.

    An ordinary copy to a GPU waits until it has been made, and it is made after all work before it.
    """
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@cache
def pick_device(wanted: str = "auto") -> torch.device:
    """The GPU or the CPU: `wanted` is `engine.device`. A GPU is tried out once a process.

    Raises:
        ModelError: a GPU is wanted or seen, and cannot be used; the CPU would take days for a night's work.
    """
    why_not = "" if wanted == "cpu" else why_unusable()
    if why_not and (wanted == "cuda" or seen_gpus()):
        raise ModelError(
            f"{why_not} To work on the CPU all the same, set engine.device to cpu.", reason="gpu_unusable"
        )
    return torch.device("cpu" if why_not or wanted == "cpu" else "cuda")


def why_unusable() -> str:
    """Why PyTorch cannot use the GPU of this process, and what to do; empty if it can."""
    build, driver, cuda = f"PyTorch {torch.__version__}", driver_version(), torch.version.cuda
    if cuda is None:
        return f"{build} is built without CUDA: install a torch without +cpu in its version."
    if not torch.cuda.is_available():
        needed = DRIVERS.get(cuda.partition(".")[0], NEWEST_DRIVER)
        if driver and int(driver.partition(".")[0]) >= needed:
            return (
                f"The driver {driver} gives {build} no GPU: start a container with NVIDIA's toolkit "
                "(docker run --gpus all), name a GPU in CUDA_VISIBLE_DEVICES that is there, ask nvidia-smi."
            )
        return (
            f"{build} is for CUDA {cuda} and needs NVIDIA's driver {needed} or later; here is "
            f"{driver or 'none'}: install one (a container has its machine's)."
        )
    card, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    if not _is_built_for(capability, built := torch.cuda.get_arch_list()):
        return (
            f"{card} has compute capability {'.'.join(map(str, capability))}, and {build} is built for "
            f"{', '.join(built)}: leave this card out with CUDA_VISIBLE_DEVICES, or install a torch for it."
        )
    try:
        torch.ones(1, device="cuda").item()
    except RuntimeError as error:
        return f"{card} does not work ({str(error).splitlines()[0]}): see what nvidia-smi says of it."
    return ""


def _is_built_for(capability: tuple[int, int], built: list[str]) -> bool:
    """Whether there is code for a card: `sm_86` runs on 8.6 to 8.9, `compute_90` on whatever is later."""
    for kind, number in re.findall(r"(sm|compute)_(\d+)", " ".join(built)):
        code = int(number[:-1]), int(number[-1])
        if code <= capability and (kind == "compute" or code[0] == capability[0]):
            return True
    return False


def device_record(device: torch.device, dtype: torch.dtype) -> Device:
    """Where a model computes, for people who read of it later."""
    precision = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        return Device("cuda", torch.cuda.get_device_name(device), precision, driver_version())
    return Device("cpu", cpu_name(), precision, None)


def backend_of(device: torch.device, dtype: torch.dtype) -> Backend:
    """The same in words."""
    return Backend(device.type, str(dtype).removeprefix("torch."))


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32.

    GPUs from compute capability 8.0 (Ampere) do; for CPUs see `cpu_dtype`.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    dtype: torch.dtype = getattr(torch, cpu_dtype())
    return dtype
