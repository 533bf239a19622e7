"""The models run on attention kernels that take any shape and keep all of a GPU busy; results stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.kernels import key_pieces, split_mask, step_attention, step_mask
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


ROWS, HEADS, GROUP, KEYS, SIZE = 5, 2, 6, 256, 16


def step(width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys, values, and what is visible of rows, the first nearly empty, the last full."""
    torch.manual_seed(width)
    memory = torch.randn(2, ROWS, KEYS, HEADS, SIZE)
    query = torch.randn(ROWS, HEADS * GROUP, width, SIZE)
    ends = torch.tensor([1, 31, 64, 200, KEYS - width])[:, None, None] + torch.arange(width)[:, None]
    return query, *memory.transpose(2, 3), torch.arange(KEYS) <= ends


@pytest.mark.parametrize("pieces", [1, 2, 4, 8])
@pytest.mark.parametrize("width", [1, 8])
def test_keys_in_pieces_give_what_all_of_them_give(width: int, pieces: int) -> None:
    query, key, value, visible = step(width)
    whole = step_mask(visible, group=GROUP, pieces=1, dtype=query.dtype)
    assert whole.dtype == torch.bool  # on a CPU all is as PyTorch has it
    expected = step_attention(query, key, value, whole, scale=0.3)
    split = split_mask(visible, group=GROUP, pieces=pieces, dtype=query.dtype)
    assert split.shape == (ROWS * pieces, 1, GROUP * width, KEYS // pieces)
    found = step_attention(query, key, value, split, scale=0.3)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("pieces", [2, 8])
def test_pieces_in_bfloat16_are_merged_as_exactly_as_they_are(pieces: int) -> None:
    query, key, value, visible = step(8)
    whole = step_mask(visible, group=GROUP, pieces=1, dtype=query.dtype)
    exact = step_attention(query, key, value, whole, scale=0.3)
    half = [each.bfloat16() for each in (query, key, value)]
    split = split_mask(visible, group=GROUP, pieces=pieces, dtype=torch.bfloat16)
    found = step_attention(*half, split, scale=0.3)
    assert found.dtype == torch.bfloat16
    off = (found.float() - exact).norm(), (step_attention(*half, whole, scale=0.3).float() - exact).norm()
    assert off[0] < 1.2 * off[1]


@pytest.mark.parametrize(
    ("device", "rows", "heads", "keys", "pieces"),
    [
        ("cpu", 30, 2, 16_843, 1),
        ("cuda", 30, 2, 16_843, 8),  # a full batch of the 2B
        ("cuda", 30, 4, 16_843, 4),  # and of the 7B
        ("cuda", 1, 2, 16_843, 65),  # one row alone: as many as there are keys for
        ("cuda", 1, 2, 100, 1),
        ("cuda", 400, 2, 16_843, 1),
    ],
)
def test_there_are_blocks_for_all_of_a_gpu(
    device: str, rows: int, heads: int, keys: int, pieces: int
) -> None:
    assert key_pieces(torch.device(device), rows=rows, heads=heads, keys=keys) == pieces


@pytest.mark.parametrize("pieces", [1, 4])
def test_the_gpus_own_kernel_gives_what_the_cpu_gives(pieces: int, cuda: str) -> None:
    query, key, value, visible = step(8)
    expected = step_attention(
        query, key, value, step_mask(visible, group=GROUP, pieces=1, dtype=query.dtype), scale=0.3
    )
    there = [each.to(cuda) for each in (query, key, value)]
    mask = step_mask(visible.to(cuda), group=GROUP, pieces=pieces, dtype=query.dtype)
    found = step_attention(*there, mask, scale=0.3)
    torch.testing.assert_close(found.cpu(), expected, atol=2e-3, rtol=0)
