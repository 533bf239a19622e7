"""What the deep stage's work comes to in operations and bytes, and how long this machine needs for it.

Counted are matrix products and attention, and for writing the bytes of weights, keys and values that
every pass reads; all else (norms, activations, launches, Python) is what a measured time has on top.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import VideoLlama3Config

from tasks.adapters.models.videollama3.config import VIDEO_MERGE
from tasks.adapters.models.videollama3.encoder import FRAMES_PER_PASS
from tasks.adapters.models.videollama3.fused_layers import PackedLinear

Rates = dict[str, float]
"""Operations a second by kind (`rows_8`: writing 8 answers side by side), `bytes` a second, and where
videos are decoded `decode`, seconds of them a second."""

PATCHES_PER_TOKEN = VIDEO_MERGE**2
TREE, TREES = 11, 3
"""Tokens that are looked at, and thrown away, to weigh a score's digits; the scores of an answer."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one way of answering does: totals over all segments of a video.

    `logits` are the prompt tokens after which all logits are computed. Answers are written `batch`
    (on average) side by side in `passes` passes, of which `peeks` keep nothing; `read` counts the
    tokens these passes read, of all answers. `video_seconds` are decoded.
    """

    video_seconds: float
    frames: int
    patches: int
    segments: int
    prompt_tokens: int
    logits: int
    batch: float
    passes: int
    peeks: int
    read: int
    new_tokens: int


def naive_work(*, segments: int, length: int, patches: int, prompt_tokens: int, new_tokens: int) -> Work:
    """The work of one segment at a time: every frame anew, logits after every prompt token."""
    frames = segments * length
    passes = new_tokens - segments  # the prompt's own pass gives the first token
    return Work(
        video_seconds=frames,
        frames=frames,
        patches=patches,
        segments=segments,
        prompt_tokens=prompt_tokens,
        logits=prompt_tokens,
        batch=1,
        passes=passes,
        peeks=0,
        read=passes,
        new_tokens=new_tokens,
    )


def our_work(count: dict[str, int], *, segments: int, video_seconds: int, patches: int, batches: int) -> Work:
    """The work of `VideoLlama3.analyse`, from what it counted itself."""
    peeks = TREES * batches
    return Work(
        video_seconds=video_seconds,
        frames=count["frames"],
        patches=patches,
        segments=segments,
        prompt_tokens=count["prompt_tokens"] - count["shared_tokens"],
        logits=0,
        batch=segments / batches,
        passes=count["steps"] + peeks,
        peeks=peeks,
        read=count["new_tokens"] + TREE * TREES * segments,
        new_tokens=count["new_tokens"],
    )


def predict(config: VideoLlama3Config, work: Work, rates: Rates, *, itemsize: int) -> dict[str, float]:
    """Seconds by phase if nothing but the counted operations and bytes took time."""
    vision_linear, vision_attention = vision_operations(config, work.patches)
    prefill_linear, prefill_attention = prefill_operations(config, work)
    operations, moved = write_operations(config, work, itemsize=itemsize)
    vision = vision_linear / rates["vision_linear"] + vision_attention / rates["vision_attention"]
    seconds = {
        "vision": work.frames * vision,
        "prefill": prefill_linear / rates["prefill_linear"] + prefill_attention / rates["prefill_attention"],
        "generate": max(operations / rates[rows_key(work.batch)], moved / rates["bytes"]),
    }
    if "decode" in rates:
        seconds["decode"] = work.video_seconds / rates["decode"]
    return {**seconds, "total": sum(seconds.values())}


def vision_operations(config: VideoLlama3Config, patches: int) -> tuple[float, float]:
    """Operations of one frame, projector included: in matrix products, and in attention."""
    vision, out = config.vision_config, config.text_config.hidden_size
    wide, inner = vision.hidden_size, vision.intermediate_size
    layers = 2 * patches * (4 * wide**2 + 2 * wide * inner) * vision.num_hidden_layers
    ends = 2 * patches * 3 * vision.patch_size**2 * wide
    projector = 2 * (wide * out + out**2) * patches / PATCHES_PER_TOKEN
    return layers + ends + projector, 4 * patches**2 * wide * vision.num_hidden_layers


def prefill_operations(config: VideoLlama3Config, work: Work) -> tuple[float, float]:
    """Operations of reading all prompts: in matrix products, and in causal attention."""
    text = config.text_config
    linear = 2 * work.prompt_tokens * layer_weights(config) + 2 * work.logits * head_weights(config)
    mean = work.prompt_tokens / work.segments
    return linear, 2 * work.segments * mean**2 * text.hidden_size * text.num_hidden_layers


def write_operations(config: VideoLlama3Config, work: Work, *, itemsize: int) -> tuple[float, float]:
    """Operations of writing all answers, and the bytes it has to read."""
    text = config.text_config
    context = work.prompt_tokens / work.segments + work.new_tokens / work.segments / 2
    attention = 4 * context * text.hidden_size * text.num_hidden_layers
    chosen = (work.passes - work.peeks) * work.batch
    operations = work.read * (2 * layer_weights(config) + attention) + chosen * 2 * head_weights(config)
    memory = 2 * text.num_hidden_layers * text.num_key_value_heads * context
    memory *= text.hidden_size // text.num_attention_heads
    numbers = work.passes * (layer_weights(config) + work.batch * memory)
    numbers += (work.passes - work.peeks) * head_weights(config)
    return operations, numbers * itemsize


def layer_weights(config: VideoLlama3Config) -> int:
    """Weights of the language model's layers."""
    text = config.text_config
    wide, narrow = text.hidden_size, text.hidden_size // text.num_attention_heads * text.num_key_value_heads
    each = 2 * wide**2 + 2 * wide * narrow + 3 * wide * text.intermediate_size
    return int(text.num_hidden_layers * each)


def head_weights(config: VideoLlama3Config) -> int:
    """Weights between the last hidden state and the logits."""
    return int(config.text_config.hidden_size * config.text_config.vocab_size)


def rows_key(batch: float) -> str:
    """The name among the rates of writing so many answers side by side."""
    return f"rows_{round(batch)}"


@torch.inference_mode()
def measure_rates(
    config: VideoLlama3Config,
    *,
    patches: int,
    prompt_tokens: int,
    batches: Iterable[float],
    device: torch.device,
    dtype: torch.dtype,
) -> Rates:
    """What the device makes of the shapes that occur, on random numbers."""
    text, vision = config.text_config, config.vision_config
    place: Any = {"device": device, "dtype": dtype}

    def product(rows: int, part: Any) -> float:
        x = torch.randn(rows, part.hidden_size, **place)
        weight = torch.randn(part.intermediate_size, part.hidden_size, **place)
        ways = [partial(functional.linear, x, weight)]
        if device.type == "cpu":
            layer = nn.Linear(part.hidden_size, part.intermediate_size, bias=False)
            ways.append(partial(PackedLinear(layer), x))
        seconds = min(_seconds(way, device) for way in ways)
        return 2 * rows * weight.numel() / seconds

    def attention(tokens: int, part: Any, *, causal: bool) -> float:
        heads = part.num_attention_heads
        q, k, v = torch.randn(3, 1, heads, tokens, part.hidden_size // heads, **place)
        call = partial(functional.scaled_dot_product_attention, q, k, v, is_causal=causal)
        operations = (2 if causal else 4) * tokens**2 * int(part.hidden_size)
        return operations / _seconds(call, device)

    rates = {
        "vision_linear": product(FRAMES_PER_PASS * patches, vision),
        "vision_attention": attention(patches, vision, causal=False),
        "prefill_linear": product(prompt_tokens, text),
        "prefill_attention": attention(prompt_tokens, text, causal=True),
        "bytes": _bandwidth(layer_weights(config) + head_weights(config), device=device, dtype=dtype),
    }
    return rates | {rows_key(batch): product(round(batch), text) for batch in {*batches}}


def _bandwidth(numbers: int, *, device: torch.device, dtype: torch.dtype) -> float:
    """Bytes a second of going through as much memory as the weights take: the better of two ways."""
    x = torch.ones(numbers, device=device, dtype=dtype)
    y = torch.empty_like(x)
    size = numbers * dtype.itemsize
    return max(size / _seconds(x.sum, device), 2 * size / _seconds(lambda: y.copy_(x), device))


def _seconds(call: Callable[[], object], device: torch.device, *, repeats: int = 7, calls: int = 5) -> float:
    """Median over `repeats` of the mean wall time of a call."""
    times = []
    for _ in range(repeats + 1):  # the first warms up
        began = time.perf_counter()
        for _ in range(calls):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - began) / calls)
    return statistics.median(times[1:])
