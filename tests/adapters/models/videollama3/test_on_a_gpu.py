"""What a pass takes on a GPU, counted on tensors without numbers: kernels, copies, bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2Model, VideoLlama3Config, VideoLlama3ForConditionalGeneration

from tasks.adapters.models.memory import RESERVED_BYTES
from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3.config import FrameSpec
from tasks.adapters.models.videollama3.encoder import FRAMES_PER_PASS, EncodedFrames, FrameEncoder
from tasks.adapters.models.videollama3.frames import patchify
from tasks.adapters.models.videollama3.fused_layers import fuse_norms, join_projections
from tasks.adapters.models.videollama3.generator import AnswerGenerator
from tasks.adapters.models.videollama3.grammar import AnswerWriter
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache, use_row_attention
from tasks.adapters.models.videollama3.memory import step_bytes, working_bytes
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.adapters.models.videollama3.questions import Question, prompts_of
from tasks.core.records import Window
from tasks.core.scoring.answers import answer_schema
from tests import ROOT
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

COUNTS = json.loads((ROOT / "benchmarks/results/gpu_arithmetic.json").read_text())["after"]["counts"]
"""What the seconds that the documents give by arithmetic come from."""

PROMPT = 16_507
"""Tokens of 59 frames of 616x336, with timestamps and prompt."""


def rows_on_a_gpu(n: int, dtype: torch.dtype, *, layers: int = LAYERS) -> BatchKVCache:
    shape = Qwen2Config(**{**WIDTHS_OF_THE_2B, "num_hidden_layers": layers})
    return BatchKVCache(as_on_a_gpu(fake_model(Qwen2Model, shape, dtype)), n, PROMPT + 320)


def as_on_a_gpu(model: Any) -> Any:
    use_row_attention(model)
    fuse_norms(model)
    join_projections(model)
    return model


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
        rows = BatchKVCache(as_on_a_gpu(model.model.language_model), 30, PROMPT + 320)
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
        2 * step
        <= 30 * step_bytes(shape, tokens=PROMPT + 320, itemsize=dtype.itemsize) + RESERVED_BYTES
        < 4 * step + RESERVED_BYTES
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_pass_of_frames_asks_the_gpu_nothing_and_attends_once_a_layer(dtype: torch.dtype) -> None:
    kernels, moved = [], []
    for layers in (1, 2):
        shape = config()
        shape.vision_config.num_hidden_layers = layers
        with fake_cuda(flash=dtype == torch.bfloat16) as counted:
            model = fake_model(VideoLlama3ForConditionalGeneration, shape, dtype)
            encoder = FrameEncoder(model, SPEC, Usage(torch.device("cuda")))
            frames = torch.empty(16, 336, 616, 3, dtype=torch.uint8, device="cuda")
            counted.begin()
            tokens = encoder(patchify(frames, SPEC), grid=(24, 44))
        assert tokens.shape == (16, 264, 1536)
        assert (counted.of("attention"), counted.of("convolution"), counted.copies) == (layers, 0, 0)
        kernels.append(sum(counted.kernels.values()))
        moved.append(counted.moved)
    assert kernels[1] - kernels[0] <= 14
    assert 2 * kernels[0] - kernels[1] <= 30
    if dtype == torch.bfloat16:
        assert (moved[1] - moved[0]) / (16 * 1056) == pytest.approx(COUNTS["patch_bytes"], rel=0.01)


def test_prompts_are_waited_for_once_each_to_be_written_and_never_to_be_read(llama: VideoLlama3) -> None:
    """What is kept of their frames; then passes are launched while frames of the next are read."""
    seen = list[int]()
    with fake_cuda() as counted:
        there = copy.copy(llama)
        there.device = torch.device("cuda:0")
        model = fake_model(VideoLlama3ForConditionalGeneration, config(), torch.bfloat16)

        def read(ticks: Sequence[int]) -> Any:
            seen.append(counted.copies)
            return np.zeros((len(ticks), 336, 616, 3), np.uint8)

        encoder = FrameEncoder(model, SPEC, Usage(torch.device("cpu")))
        encoder.device = there.device
        encoded = EncodedFrames(encoder, read, range(60))
        windows = Window(0, 40), Window(20, 60)
        counted.begin()
        question = Question("", "reasons_first", fps=1, n_ticks=60, max_new_tokens=300, said={})
        prompts = prompts_of(windows, question, encoded, there.language, max_frames=128)
        assert counted.copies == len(windows)
        seen.clear()
        counted.begin()
        for prompt in prompts:
            prompt.video()
    assert counted.of("attention") == LAYERS * -(-60 // FRAMES_PER_PASS)
    assert len(seen) == -(-60 // FRAMES_PER_PASS)
    assert counted.copies == 0


@pytest.mark.parametrize("width", [1, 7])
def test_a_step_waits_for_no_copy(width: int) -> None:
    with fake_cuda() as counted:
        rows = rows_on_a_gpu(30, torch.bfloat16)
        rows._sizes = [PROMPT] * 30
        hidden = torch.empty(30, 1536, device="cuda", dtype=torch.bfloat16)
        counted.begin()
        rows.decode([[5] * width, *[[5]] * 29], hidden)
    assert counted.copies == 0
    assert counted.of("attention") == LAYERS


@pytest.mark.parametrize("width", [1, 8, 16])
def test_a_step_is_of_few_kernels_and_holds_no_copy_of_the_keys(width: int) -> None:
    """transformers' own layers have 47 each, and six copies of the keys would be what a layer is read for."""
    counts = []
    for layers in (1, 2):
        with fake_cuda() as counted:
            rows = rows_on_a_gpu(30, torch.bfloat16, layers=layers)
            rows._sizes = [PROMPT] * 30
            hidden = torch.empty(30, 1536, device="cuda", dtype=torch.bfloat16)
            counted.begin()
            rows.decode([[5] * width] * 30, hidden)
        counts.append(sum(counted.kernels.values()))
        masks = 30 * width * 6 * rows.keys.shape[2] * 2
        assert counted.peak_bytes < 1.5 * masks + 2**26
        assert (counted.of("efficient"), counted.of("masked_fill"), counted.copies) == (layers, 1, 0)
    each = counts[1] - counts[0]
    assert 28 * each + counts[0] - each <= COUNTS["kernels"]


def test_a_chunk_of_a_prompt_is_of_few_kernels_and_waits_for_nothing() -> None:
    counts, moved = [], []
    for layers in (1, 2):
        with fake_cuda() as counted:
            rows = rows_on_a_gpu(2, torch.bfloat16, layers=layers)
            embeddings = torch.empty(4096, 1536, device="cuda", dtype=torch.bfloat16)
            counted.begin()
            rows.prefill(1, embeddings)
        counts.append(sum(counted.kernels.values()))
        assert (counted.of("flash"), counted.of("attention"), counted.copies) == (layers, layers, 0)
        moved.append(counted.moved)
    assert counts[1] - counts[0] <= 16
    assert (moved[1] - moved[0]) / 4096 == pytest.approx(COUNTS["token_bytes"], rel=0.01)


def test_choosing_tokens_waits_for_the_tokens_alone(llama: VideoLlama3) -> None:
    grammar = llama.decoder.grammar
    writers = [AnswerWriter(grammar, answer_schema(start_s=0, end_s=9), max_new_tokens=300) for _ in range(3)]
    with fake_cuda() as counted:
        model = fake_model(
            VideoLlama3ForConditionalGeneration,
            config(vocab_size=llama.model.config.text_config.vocab_size),
            torch.bfloat16,
        )
        generator = AnswerGenerator(model, llama.decoder.tokenizer, grammar, Usage(torch.device("cuda")))
        hidden = torch.empty(3, 1536, device="cuda", dtype=torch.bfloat16)
        counted.begin()
        generator._likeliest(writers, hidden)
        assert counted.copies == 1
        rows = BatchKVCache(model.model.language_model, 3, 400)
        rows._sizes = [300] * 3
        counted.begin()
        generator._scores(rows, hidden)
        assert counted.copies == 1


def test_the_grammar_is_asked_before_anything_waits_for_the_pass_before(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU is still at it while the CPU looks what may be written."""
    generator, order = llama.decoder, list[str]()
    allowed, lm_head = generator.grammar.allowed, llama.model.lm_head.forward
    monkeypatch.setattr(generator.grammar, "allowed", lambda some: order.append("grammar") or allowed(some))
    monkeypatch.setattr(llama.model.lm_head, "forward", lambda x: order.append("model") or lm_head(x))
    schema = answer_schema(start_s=0, end_s=9)
    writers = [AnswerWriter(generator.grammar, schema, max_new_tokens=300)]
    with torch.inference_mode():
        generator._likeliest(writers, torch.zeros(1, llama.model.config.text_config.hidden_size))
    assert order == ["grammar", "model"]


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
