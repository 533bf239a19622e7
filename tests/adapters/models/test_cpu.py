"""What the CPU computes in is known without PyTorch, and PyTorch agrees."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.adapters.models import cpu
from tasks.adapters.models.cpu import cpu_dtype
from tasks.adapters.models.devices import backend_of, pick_device, pick_dtype
from tasks.adapters.models.gpus import is_without_cuda
from tasks.work.models import find_backend


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("fpu avx512_bf16 amx_bf16 amx_tile", "bfloat16"),
        ("fpu amx_tile amx_bf16", "bfloat16"),
        ("fpu avx512_bf16 avx512f", "float32"),
    ],
)
def test_only_tiles_make_bfloat16_worth_it(
    flags: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: Some CPU\nflags\t\t: {flags}\n\nflags\t\t: {flags}\n")
    monkeypatch.setattr(cpu, "INFO", tmp_path / "cpuinfo")
    assert cpu_dtype() == dtype
    assert pick_dtype(torch.device("cpu")) == getattr(torch, dtype)
    assert find_backend("cpu").dtype == dtype


def test_pytorch_sees_the_same_cpu_and_no_gpu_either() -> None:
    assert (cpu_dtype() == "bfloat16") is bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    assert not (is_without_cuda() and torch.cuda.is_available())
    assert find_backend() == backend_of(pick_device(), pick_dtype(pick_device()))


def test_a_gpu_that_is_seen_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert not is_without_cuda()
