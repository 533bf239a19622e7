"""What a pass takes on a GPU, counted on tensors without numbers: kernels, copies, bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model, VideoLlama3Config, VideoLlama3ForConditionalGeneration

from tasks.adapters.models.memory import RESERVED_BYTES
from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3.config import FrameSpec
from tasks.adapters.models.videollama3.encoder import FrameEncoder
from tasks.adapters.models.videollama3.frames import patchify
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention
from tasks.adapters.models.videollama3.memory import step_bytes, working_bytes
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


VISION_OF_THE_2B = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 16,
    "patch_size": 14,
}

SPEC = FrameSpec(14, 2, 16, 16384, 1 / 255, (0.5,) * 3, (0.5,) * 3, True)


def config(**language: Any) -> VideoLlama3Config:
    text = {"model_type": "qwen2", **WIDTHS_OF_THE_2B, **language}
    return VideoLlama3Config(text_config=text, vision_config=VISION_OF_THE_2B, tie_word_embeddings=True)


LARGER = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
"""The widths of the 7B."""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("language", [{}, LARGER], ids=["2B", "7B"])
def test_what_passes_hold_is_known(dtype: torch.dtype, language: dict[str, Any]) -> None:
    shape = config(**language)
    with fake_cuda(flash=dtype == torch.bfloat16) as counted:
        model = fake_model(VideoLlama3ForConditionalGeneration, shape, dtype)
        encoder = FrameEncoder(model, SPEC, Usage(torch.device("cuda")))
        frames = torch.empty(16, 336, 616, 3, dtype=torch.uint8, device="cuda")
        counted.begin()
        features = encoder(patchify(frames, SPEC), grid=(24, 44))
        vision = counted.peak_bytes
        del features
        use_row_attention(model.model.language_model)
        rows = BatchKVCache(model.model.language_model, 30, PROMPT + 320)
        counted.begin()
        rows.prefill(0, torch.empty(PROMPT, shape.text_config.hidden_size, device="cuda", dtype=dtype))
        prefill = counted.peak_bytes
        rows._sizes = [PROMPT] * 30
        counted.begin()
        rows.decode(
            [[5] * 16] * 30, torch.empty(30, shape.text_config.hidden_size, device="cuda", dtype=dtype)
        )
        step = counted.peak_bytes
    sizes = {"tokens": PROMPT + 320, "patches": 16 * 1056, "itemsize": dtype.itemsize}
    assert max(vision, prefill) <= working_bytes(shape, **sizes) < 2 * max(vision, prefill)
    # And as much again for what is recorded as CUDA graphs.
    assert (
        2 * step <= 30 * step_bytes(shape, tokens=PROMPT + 320) + RESERVED_BYTES < 4 * step + RESERVED_BYTES
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_pass_of_frames_asks_the_gpu_nothing_and_attends_once_a_layer(dtype: torch.dtype) -> None:
    with fake_cuda(flash=dtype == torch.bfloat16) as counted:
        model = fake_model(VideoLlama3ForConditionalGeneration, config(), dtype)
        encoder = FrameEncoder(model, SPEC, Usage(torch.device("cuda")))
        frames = torch.empty(16, 336, 616, 3, dtype=torch.uint8, device="cuda")
        counted.begin()
        tokens = encoder(patchify(frames, SPEC), grid=(24, 44))
    assert tokens.shape == (16, 264, 1536)
    assert counted.of("attention") == LAYERS
    assert counted.of("convolution") == 0
    assert counted.copies <= 3  # two of them mean and std of the pixels


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
