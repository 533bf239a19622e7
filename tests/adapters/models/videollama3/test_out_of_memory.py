"""When memory runs out: every rung of the ladder answers, says so, and leaves the model usable."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from tasks.adapters.models.memory import RESERVED_BYTES
from tasks.adapters.models.videollama3 import generator
from tasks.adapters.models.videollama3 import model as videollama3
from tasks.adapters.models.videollama3.encoder import EncodedFrames
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache
from tasks.adapters.models.videollama3.memory import row_bytes, working_bytes
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.adapters.models.videollama3.questions import Question, prompts_of
from tasks.core.records import Analysis, Window
from tests.adapters.models.videollama3.small import WRITTEN, analyse, video


def limit_memory(monkeypatch: pytest.MonkeyPatch, *, tokens: int) -> None:
    """Let the rows of a batch have so many tokens together, and no more."""

    def rows(model: Any, n: int, length: int, **named: Any) -> BatchKVCache:
        if n * length > tokens:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {n} rows of {length} tokens")
        return BatchKVCache(model, n, length, **named)

    monkeypatch.setattr(generator, "BatchKVCache", rows)


LONG = [Window(0, 150), Window(20, 170), Window(90, 240)]
"""Segments that take nearly 2,000 tokens with all their frames, less than half of it with 64."""


@pytest.fixture(scope="module")
def plenty(llama: VideoLlama3) -> Callable[[int], dict[Window, Analysis]]:
    """What is answered about `LONG`, seen through so many frames, where memory is no limit."""
    return cache(lambda frames: analyse(llama, LONG, frames=video(240), max_frames=frames, batch_size=1))


@pytest.mark.parametrize(
    ("tokens", "batch_size", "frames", "reason"),
    [
        (9_000, 3, 150, None),
        (4_000, 1, 150, "smaller_batch"),
        (1_300, 1, 64, "fewer_frames"),
        (800, 1, 32, "fewer_frames"),
    ],
)
def test_each_rung_of_the_memory_ladder_answers_and_says_so(
    llama: VideoLlama3,
    plenty: Callable[[int], dict[Window, Analysis]],
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
    batch_size: int,
    frames: int,
    reason: str | None,
) -> None:
    well = plenty(frames)
    with monkeypatch.context() as small:
        limit_memory(small, tokens=tokens)
        found = analyse(llama, LONG, frames=video(240), max_frames=180, batch_size=3)
    for window, analysis in found.items():
        assert analysis.status == "ok", analysis.detail
        assert (analysis.batch_size, analysis.frames, analysis.reason) == (batch_size, frames, reason)
        assert (analysis.detail is None) == (reason is None)
        assert analysis.answer == well[window].answer
    # The model is as good as before for the next video.
    after = analyse(llama, [Window(0, 8), Window(2, 10), Window(4, 12)], batch_size=3)
    assert {analysis.batch_size for analysis in after.values()} == {3}


def test_a_segment_that_fits_no_rung_is_given_up_and_the_lighter_ones_go_on(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = [Window(0, 8), Window(4, 150), Window(150, 158)]
    limit_memory(monkeypatch, tokens=450)
    found = analyse(llama, windows, frames=video(160), batch_size=2)
    assert [found[window].status for window in windows] == ["ok", "failed", "ok"]
    assert found[windows[1]].reason == "out_of_memory"
    assert "CUDA out of memory" in str(found[windows[1]].detail)


@pytest.mark.parametrize("where", ["encode", "prefill", "decode"])
def test_memory_may_run_out_anywhere_and_what_was_taken_is_given_back(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    windows = [Window(0, 20), Window(5, 25)]
    well = analyse(llama, windows, batch_size=1)
    taken: list[weakref.ref[BatchKVCache]] = []
    calls = iter(range(1000))

    def rows(*args: Any, **kwargs: Any) -> BatchKVCache:
        made = BatchKVCache(*args, **kwargs)
        taken.append(weakref.ref(made))
        return made

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            if taken and len(taken) > 1:
                assert taken[0]() is None, "the failed batch's memory is still held"
            return original(*args, **kwargs)

        return method

    owner = EncodedFrames if where == "encode" else BatchKVCache
    name = "_encode" if where == "encode" else where
    monkeypatch.setattr(generator, "BatchKVCache", rows)
    monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    before = llama.usage.count["frames"]
    found = analyse(llama, windows, batch_size=2)
    assert len(taken) == 3
    given_up = 16 if where == "encode" else 25  # one pass, or all frames: freed, and encoded again
    assert llama.usage.count["frames"] - before == given_up + 25
    for window in windows:
        assert found[window].answer == well[window].answer
        assert (found[window].batch_size, found[window].reason) == (1, "smaller_batch")


def test_frames_that_no_segment_shows_any_more_are_freed(llama: VideoLlama3) -> None:
    shown, windows = video(60), [Window(0, 20), Window(10, 30), Window(30, 60)]
    encoded = EncodedFrames(llama.encoder, lambda ticks: shown[list(ticks)], range(60))
    question = Question("", "reasons_first", fps=1, n_ticks=60, max_new_tokens=100, said={})
    with torch.inference_mode():
        for prompt in prompts_of(windows, question, encoded, llama.language, max_frames=128):
            prompt.video()
        before = llama.usage.count["frames"]
        encoded.features(range(30, 60))
        assert llama.usage.count["frames"] == before
        encoded.features(range(30))
        assert llama.usage.count["frames"] == before + 30


def test_the_batch_is_what_free_memory_holds(llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = [Window(start, start + 10) for start in range(0, 50, 5)]
    sizes = {}
    asked = list[int]()

    def reserve(*_: Any, **sizes: int) -> int:
        asked.append(working_bytes(*_, **sizes))
        return asked[-1]

    monkeypatch.setattr(videollama3, "working_bytes", reserve)
    monkeypatch.setattr(llama.decoder, "answer", lambda prompts, **_: [WRITTEN] * len(prompts))
    analyse(llama, windows[:1])
    for spare in (0, 1_400_000, 2_500_000, 90_000_000):
        free = asked[0] + RESERVED_BYTES + spare
        monkeypatch.setattr(videollama3, "free_bytes", lambda device, free=free: free)
        sizes[spare] = max(a.batch_size or 0 for a in analyse(llama, windows).values())
    assert 1 == sizes[0] < sizes[1_400_000] < sizes[2_500_000] < sizes[90_000_000] == 8


def test_the_longest_of_what_is_said_counts_for_the_memory_of_a_batch(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[int] = []

    def fitting(free: int, *, row: int, **_: int) -> int:
        planned.append(row)
        return 3

    monkeypatch.setattr(videollama3, "fitting_batch", fitting)
    windows = [Window(0, 6), Window(3, 9), Window(6, 12)]
    for said in ({}, {windows[1]: "so " * 400}, {windows[0]: "so", windows[1]: "so " * 40_000}):
        assert {each.status for each in analyse(llama, windows, frames=video(12), said=said).values()} == {
            "ok"
        }
    mute, heard, bounded = planned
    a_token = row_bytes(llama.model.config, tokens=1, itemsize=llama.dtype.itemsize)
    assert heard > mute + 400 * a_token
    assert heard < bounded < mute + 4 * (heard - mute)
