"""What CUDA says when memory is short passes; what it says when a GPU is lost does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tasks.adapters.models.devices import on_model_thread
from tasks.adapters.models.gpu_errors import is_out_of_memory
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.core.errors import GpuLost
from tasks.core.records import Window
from tests.adapters.models.videollama3.small import analyse

ILLEGAL = torch.AcceleratorError("CUDA error: an illegal memory access wasntered\nCompile with ...")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        MemoryError(),
    ],
)
def test_however_memory_is_said_to_be_short_less_is_tried(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    answer, failed = llama.decoder.answer, iter([error])

    def short_once(prompts: Any, **named: Any) -> Any:
        for once in failed:
            raise once
        return answer(prompts, **named)

    monkeypatch.setattr(llama.decoder, "answer", short_once)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)  # stands for a GPU that lives
    found = analyse(llama, [Window(0, 8), Window(4, 12)], batch_size=2)
    assert {(a.status, a.reason, a.batch_size) for a in found.values()} == {("ok", "smaller_batch", 1)}


@pytest.mark.parametrize("error", [ILLEGAL, RuntimeError("shapes differ"), ValueError("out of memory")])
def test_no_other_error_is(error: Exception) -> None:
    assert not is_out_of_memory(error)


def dead(device: object = None) -> None:
    """Stands for a GPU whose context is broken."""
    raise ILLEGAL


def test_an_error_that_breaks_the_gpu_is_no_answer_of_the_model(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama.decoder, "answer", lambda *_, **__: dead())
    monkeypatch.setattr(torch.cuda, "synchronize", dead)
    with pytest.raises(GpuLost, match=r"lost to this process \(CUDA error: an illegal memory access was"):
        analyse(llama, [Window(0, 8)])


def test_an_error_that_passes_is_one_of_the_segment(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama.decoder, "answer", lambda *_, **__: dead())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    (found,) = analyse(llama, [Window(0, 8)]).values()
    assert (found.status, found.reason) == ("failed", "model_error")


def test_whatever_is_done_with_a_model_finds_a_lost_gpu_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", dead)
    with pytest.raises(GpuLost):
        on_model_thread(dead)
