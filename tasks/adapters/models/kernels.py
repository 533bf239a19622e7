"""Which of PyTorch's attention kernels the models run on, and why."""

from __future__ import annotations

import torch
from torch.nn import functional

MASKED = -1e30
"""Added to the score of a key that is not seen. Finite: where a piece has no key that is, its scores are
numbers all the same, and its weight among the pieces is zero."""

BLOCKS = 512
"""Blocks of threads in a step's attention: more than the largest GPU runs at once."""

MIN_PIECE_KEYS = 256
"""Keys that are worth a block of their own."""


def choose_attention_kernels() -> None:
    """Leave flash, memory-efficient and plain attention to choose from, for this whole process.

    Not cuDNN's, which PyTorch tries first on Hopper and Blackwell data-centre cards since 2.11. It builds a
    plan for every new shape, tenths of a second each, and here nearly every batch has a new shape. And where
    it turns out to have no plan, nothing falls back: every call is an error. The others take any shape as
    it comes. (Where shapes are fixed cuDNN may be faster: let a measurement decide before it returns.)
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def attention_in_words(device: torch.device, dtype: torch.dtype) -> str:
    """What VideoLLaMA3 reads its prompts with on a GPU, by the heads of the 2B."""
    query, key = (torch.empty(1, heads, 16, 128, device=device, dtype=dtype) for heads in (12, 2))
    if shares_heads(query, key, key):
        return "flash attention"
    return "memory-efficient attention (flash attention needs compute capability 8.0 and half precision)"


def shares_heads(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether causal attention may be given fewer key-value heads than query heads.

    On a CPU, and with flash attention: compute capability 8.0 or later, in half precision. Elsewhere the
    memory-efficient kernel would do, but in PyTorch 2.13 it takes as many of both. Given fewer, PyTorch falls
    back to plain attention, which holds all scores at once: 6.6 GiB for 4,096 of 16,507 tokens in float32.
    """
    if query.device.type != "cuda":
        return True
    params = torch.backends.cuda.SDPAParams(query, key, value, None, 0.0, False, True)
    return bool(torch.backends.cuda.can_use_flash_attention(params))


def key_pieces(device: torch.device, *, rows: int, heads: int, keys: int) -> int:
    """In how many pieces the keys of a step are attended to: one on a CPU.

    The GPU's one kernel that takes a mask is the memory-efficient one. It has a block of threads for each
    row, key-value head and 64 queries, which goes through all keys alone: 60 blocks for 30 rows on an H100,
    whose 132 processors run more than that at once. A CPU's kernel has work for all its cores.
    """
    if device.type != "cuda":
        return 1
    return max(1, min(BLOCKS // (rows * heads), keys // MIN_PIECE_KEYS))


def step_mask(visible: torch.Tensor, *, group: int, pieces: int, dtype: torch.dtype) -> torch.Tensor:
    """What `step_attention` takes as its mask in every layer, from `rows x width x keys` booleans.

    On a CPU booleans still. On a GPU numbers to add: PyTorch would make them of booleans in every layer.
    """
    if visible.device.type != "cuda":
        return visible.repeat(1, group, 1)[:, None]
    return split_mask(visible, group=group, pieces=pieces, dtype=dtype)


def split_mask(visible: torch.Tensor, *, group: int, pieces: int, dtype: torch.dtype) -> torch.Tensor:
    """`rows * pieces x 1 x group * width x keys / pieces` numbers to add to the scores."""
    added = torch.zeros_like(visible, dtype=dtype).masked_fill_(visible.logical_not(), MASKED)
    pieced = added.unflatten(2, (pieces, -1)).transpose(1, 2)[:, :, None].expand(-1, -1, group, -1, -1)
    mask: torch.Tensor = pieced.flatten(2, 3).flatten(0, 1)[:, None]
    return mask


def step_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, *, scale: float
) -> torch.Tensor:
    """Attention of a step's queries, `rows x heads x width x size`, as they are.

    `key` and `value` are `rows x key-value heads x keys x size`, `mask` is by `step_mask`. The heads that
    share keys count as further queries, which every kernel can do; copied keys would be six times the
    memory, read at each step.
    """
    by_group = query.unflatten(1, (key.shape[1], -1))
    if mask.dtype != torch.bool:
        return _split_attention(by_group, key, value, mask, scale=scale)
    folded = by_group.flatten(2, 3)
    output = functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scale)
    # Not view(): some kernels give their output in another order of memory.
    return output.reshape(query.shape)


def _split_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, *, scale: float
) -> torch.Tensor:
    """Attention to each piece of the keys by itself, and their mean, weighted by the pieces' shares.

    As flash-decoding (Dao et al. 2023). `query` is `rows x key-value heads x group x width x size`; `key` and
    `value` are views of `rows x keys x heads x size`.
    """
    rows, heads, group, width, size = query.shape
    pieces = len(mask) // rows
    key, value = (
        each.transpose(1, 2).unflatten(1, (pieces, -1)).flatten(0, 1).transpose(1, 2) for each in (key, value)
    )
    queries = query[:, None].expand(-1, pieces, -1, -1, -1, -1).reshape(-1, heads, group * width, size)
    attend = _efficient_attention if query.is_cuda else _cpu_attention
    output, log_sum = attend(queries, key, value, mask.expand(-1, heads, -1, -1), scale)
    share = log_sum.unflatten(0, (rows, pieces)).softmax(1)[..., None]
    mean = (output.unflatten(0, (rows, pieces)) * share).sum(1).unflatten(2, (group, width))
    in_line = mean.permute(0, 3, 1, 2, 4).to(query.dtype, memory_format=torch.contiguous_format)
    merged: torch.Tensor = in_line.flatten(2, 3).transpose(1, 2)
    return merged


def _efficient_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    output, log_sum, *_ = attend(query, key, value, mask, True, scale=scale)
    return output, log_sum[..., : query.shape[2]]  # it is filled up to a multiple of 32 queries


def _cpu_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output: tuple[torch.Tensor, torch.Tensor] = attend(query, key, value, attn_mask=mask, scale=scale)
    return output
