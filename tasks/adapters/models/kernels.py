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
