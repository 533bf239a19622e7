"""Which of PyTorch's attention kernels the models run on, and why."""

from __future__ import annotations

import torch


def choose_attention_kernels() -> None:
    """Leave flash, memory-efficient and plain attention to choose from, for this whole process.

    Not cuDNN's, which PyTorch tries first on Hopper and Blackwell data-centre cards since 2.11. It builds a
    plan for every new shape, tenths of a second each, and here nearly every batch has a new shape. And where
    it turns out to have no plan, nothing falls back: every call is an error. The others take any shape as
    it comes. (Where shapes are fixed cuDNN may be faster: let a measurement decide before it returns.)
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


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
