"""The models run on attention kernels that take any shape, whatever PyTorch would try first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.adapters.models.videomae import VideoMAE


@pytest.fixture(autouse=True)
def _as_pytorch_comes() -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.mark.parametrize(("model", "name"), [(VideoMAE, "videomae"), (VideoLlama3, "videollama3")])
def test_no_attention_of_a_model_is_left_to_cudnn(model: Any, name: str, demo_models: Path) -> None:
    model(resolve_checkpoint(str(demo_models / name)))
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.cuda.mem_efficient_sdp_enabled()
    assert torch.backends.cuda.math_sdp_enabled()
