"""What a pass takes on a GPU, counted on tensors without numbers: kernels, copies, bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention
from tests.adapters.models.fake_cuda import fake_cuda, fake_model

GIB = 2**30

LAYERS = 2

WIDTHS_OF_THE_2B: dict[str, Any] = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}

PROMPT = 16_507
"""Tokens of 59 frames of 616x336, with timestamps and prompt."""


def rows_on_a_gpu(n: int, dtype: torch.dtype) -> BatchKVCache:
    model = fake_model(Qwen2Model, Qwen2Config(**WIDTHS_OF_THE_2B), dtype)
    use_row_attention(model)
    return BatchKVCache(model, n, PROMPT + 320)


@pytest.mark.parametrize(
    ("flash", "dtype", "kernel", "most_gib"),
    [
        (True, torch.bfloat16, "_scaled_dot_product_flash_attention", 0.35),
        (False, torch.float32, "_scaled_dot_product_efficient_attention", 0.9),  # a T4
    ],
)
def test_prompts_are_read_with_an_attention_that_holds_no_scores(
    flash: bool, dtype: torch.dtype, kernel: str, most_gib: float
) -> None:
    with fake_cuda(flash=flash) as counted:
        rows = rows_on_a_gpu(1, dtype)
        counted.begin()
        rows.prefill(0, torch.empty(PROMPT, 1536, device="cuda", dtype=dtype))
    assert counted.of(kernel) == counted.of("attention") == LAYERS * -(-PROMPT // 4096)
    assert counted.peak_bytes < most_gib * GIB
