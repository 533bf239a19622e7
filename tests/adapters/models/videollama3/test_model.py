"""The deep stage on an untrained model of the real architecture: every step, and the whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.held import Held
from tasks.adapters.models.usage import Spent
from tasks.adapters.models.videollama3 import model as adapter
from tasks.adapters.models.videollama3.generator import GeneratedAnswer, Prompt
from tasks.adapters.models.videollama3.model import (
    ModelStatus,
    VideoLlama3,
    load_videollama3,
    videollama3_status,
)
from tasks.core.errors import ModelError
from tasks.core.records import Answer, Window
from tasks.core.scoring.answers import answer_schema
from tests.adapters.models.videollama3.small import WRITTEN, Frames, analyse, video

WINDOWS = [Window(0, 20), Window(5, 25), Window(12, 30)]

MANY = [Window(start, start + length) for start in (0, 8, 16) for length in (6, 11, 17)]


@pytest.fixture(scope="module")
def alone(llama: VideoLlama3) -> Callable[[Window], Answer]:
    """What the model answers about a segment that is asked about by itself."""

    @cache
    def ask(window: Window) -> Answer:
        (analysis,) = analyse(llama, [window]).values()
        assert analysis.answer is not None, analysis.detail
        return analysis.answer

    return ask


def test_an_analysis_says_how_it_came_to_be(llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama.decoder, "answer", lambda prompts, **kwargs: [WRITTEN] * len(prompts))
    analysis = analyse(llama, WINDOWS)[WINDOWS[2]]
    assert analysis.answer is not None
    assert analysis.answer.virality_score == 7
    expected = (analysis.expected_hook_quality, analysis.expected_engagement_potential)
    assert (analysis.expected_score, *expected) == (7.5, 7.25, 7.125)
    assert (analysis.frames, analysis.batch_size, analysis.reason, analysis.detail) == (18, 3, None, None)


def test_generation_is_greedy_although_the_checkpoint_samples(llama: VideoLlama3) -> None:
    assert llama.model.generation_config.do_sample
    windows = [Window(0, 10), Window(20, 30)]
    torch.manual_seed(1)
    first = analyse(llama, windows)
    torch.manual_seed(2)
    assert analyse(llama, windows) == first


def test_forty_random_questions_to_a_random_model_get_forty_valid_answers(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    for name, weight in llama.model.named_parameters():
        if weight.ndim > 1 and "vision" not in name:
            monkeypatch.setattr(weight, "data", torch.randn(weight.shape, generator=generator) * 0.3)
    words = ["viral", "{", "\\", "日本", "🎬", '"', "score", "\n", "0", "<|im_end|>"]
    answers = []
    for max_new_tokens in (80, 110, 160, 240):
        starts = rng.choice(50, size=10, replace=False)
        windows = [Window(int(start), int(start + rng.integers(2, 10))) for start in starts]
        prompt = " ".join(rng.choice(words, size=8))
        found = analyse(llama, windows, prompt=prompt, max_new_tokens=max_new_tokens, batch_size=10)
        for window, analysis in found.items():
            assert analysis.status == "ok", analysis.detail
            assert analysis.answer is not None
            assert all(window.start <= m.timestamp_s < window.end for m in analysis.answer.viral_moments)
            answers.append(analysis.answer)
    assert len(answers) == 40
    assert len({answer.virality_score for answer in answers}) > 5


@pytest.mark.parametrize(("fps", "window"), [(2, Window(7, 27)), (3, Window(31, 60)), (30, Window(0, 60))])
def test_timestamps_are_bounded_in_seconds_whatever_the_grid(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch, fps: int, window: Window
) -> None:
    bounds: dict[str, int] = {}

    def answer(prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[GeneratedAnswer]:
        [moments] = [prompt.schema["properties"]["viral_moments"] for prompt in prompts]
        bounds.update(moments["items"]["properties"]["timestamp"])
        return [WRITTEN]

    monkeypatch.setattr(llama.decoder, "answer", answer)
    analyse(llama, [window], fps=fps, max_frames=10)
    assert window.start <= bounds["minimum"] * fps <= bounds["maximum"] * fps < window.end
    assert (bounds["minimum"] - 1) * fps < window.start
    assert (bounds["maximum"] + 1) * fps >= window.end


def test_each_frame_is_encoded_once_and_sharing_changes_nothing(
    llama: VideoLlama3, alone: Callable[[Window], Answer]
) -> None:
    answers = {window: alone(window) for window in WINDOWS}
    before = llama.usage.count["frames"]
    together = analyse(llama, WINDOWS[::-1], batch_size=3)
    assert llama.usage.count["frames"] - before == len({t for w in WINDOWS for t in range(w.start, w.end)})
    assert {window: analysis.answer for window, analysis in together.items()} == answers
    assert list(together) == WINDOWS


def test_segments_that_start_alike_share_the_beginning_of_their_prompts(
    llama: VideoLlama3, alone: Callable[[Window], Answer]
) -> None:
    windows = [Window(3, 10), Window(3, 20), Window(3, 30), Window(4, 20)]
    answers = {window: alone(window) for window in windows}
    before = llama.usage.count["shared_tokens"]
    together = analyse(llama, windows, batch_size=4)
    assert {window: analysis.answer for window, analysis in together.items()} == answers
    # 7 and 17 frames, each of 2 vision tokens where nothing stood still, and its timestamp.
    assert llama.usage.count["shared_tokens"] - before > 2 * (7 + 17)


def test_each_prompt_says_where_its_segment_lies_behind_all_its_pictures(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Prompt] = []
    monkeypatch.setattr(llama.decoder, "answer", lambda prompts, **_: asked.extend(prompts) or [WRITTEN] * 2)
    analyse(llama, [Window(3, 10), Window(3, 20)], prompt="How viral?")
    for prompt, end in zip(asked, ("10.0s", "20.0s"), strict=True):
        last = max(i for i, token in enumerate(prompt.ids) if token == llama.language.video_token_id)
        assert llama.language.tokenizer.decode(prompt.ids[last + 1 :]).startswith(
            f"\nThis segment runs from 3.0s to {end} of a video of 60.0s. "
            "Its hook is its first 3 pictures.\nHow viral?"
        )
        assert prompt.shared_prefix <= last + 1
    assert asked[1].shared_prefix > 0


def test_frames_that_only_print_the_same_time_are_not_shared(llama: VideoLlama3) -> None:
    windows = [Window(0, 20), Window(1, 21)]  # at 30 frames a second both begin at "0.0s"
    before = llama.usage.count["shared_tokens"]
    analyse(llama, windows, fps=30, batch_size=2)
    assert llama.usage.count["shared_tokens"] == before


def test_nobody_gets_anothers_answer_whatever_the_order_and_the_batches(
    llama: VideoLlama3, alone: Callable[[Window], Answer]
) -> None:
    answers = {window: alone(window) for window in MANY}
    assert len(set(map(str, answers.values()))) == len(MANY)
    rng = np.random.default_rng(0)
    for batch_size in (2, 4, 9):
        shuffled = [MANY[i] for i in rng.permutation(len(MANY))]
        found = analyse(llama, shuffled, batch_size=batch_size)
        assert {window: analysis.answer for window, analysis in found.items()} == answers


def test_the_model_answers_one_call_at_a_time(llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    most = []

    def answer(prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[GeneratedAnswer]:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return [WRITTEN]

    monkeypatch.setattr(llama.decoder, "answer", answer)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda start: analyse(llama, [Window(start, start + 7)]), range(8)))
    assert most == [1] * 8


def test_threads_get_their_own_answers_in_whatever_order_they_finish(
    llama: VideoLlama3, alone: Callable[[Window], Answer]
) -> None:
    answers = {window: alone(window) for window in MANY}
    with ThreadPoolExecutor(4) as pool:
        jobs = {pool.submit(analyse, llama, [window]): window for window in reversed(MANY)}
        for job in as_completed(jobs):
            [(window, analysis)] = job.result().items()
            assert window == jobs[job]
            assert analysis.answer == answers[window]


def test_threads_are_told_what_their_own_segments_cost(llama: VideoLlama3) -> None:
    before, spent = llama.usage.spent, [Spent() for _ in range(4)]
    asked = {"fps": 1, "n_ticks": 60, "prompt": "?", "max_frames": 128, "max_new_tokens": 100}

    def judge(i: int) -> None:
        windows = [Window(8 * i, 8 * i + 7), Window(8 * i, 8 * i + 9)][: 1 + i % 2]
        list(llama.analyse(lambda ticks: video()[list(ticks)], windows, spent=spent[i], **asked))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(judge, range(4)))
    counts = [each.count for each in spent]
    assert sum(counts, Counter[str]()) == llama.usage.spent - before
    assert counts[0]["new_tokens"] <= 100 < counts[1]["new_tokens"]
    assert [count["frames"] for count in counts] == [7, 9, 7, 9]
    loops = sorted(loop for each in spent for loop in each.loops)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(loops)), "one computes at a time"
    for each in spent:
        whole_us = 1e6 * sum(ended - began for began, ended in each.loops)
        assert 1000 < each.count["busy_us"] <= whole_us


def test_long_segments_are_seen_through_evenly_spread_frames(llama: VideoLlama3) -> None:
    asked: set[int] = set()

    def frames_of(ticks: Sequence[int]) -> Frames:
        asked.update(ticks)
        return video()[list(ticks)]

    [(_, analysis)] = llama.analyse(
        frames_of, [Window(0, 60)], fps=1, n_ticks=60, prompt="?", max_frames=4, max_new_tokens=100
    )
    assert asked == {0, 19, 39, 59}
    assert analysis.frames == 4


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "out_of_memory"),
        (RuntimeError("something else"), "model_error"),
        (OSError("the timeline is gone"), "model_error"),
    ],
)
def test_one_failing_segment_does_not_hurt_the_others(
    llama: VideoLlama3,
    alone: Callable[[Window], Answer],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    well = {window: alone(window) for window in WINDOWS}
    bad = WINDOWS[1]
    original = llama.decoder.answer

    def answer(prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[GeneratedAnswer]:
        if any(prompt.schema == answer_schema(start_s=bad.start, end_s=bad.end) for prompt in prompts):
            raise error
        return original(prompts, max_new_tokens=max_new_tokens)

    monkeypatch.setattr(llama.decoder, "answer", answer)
    found = analyse(llama, WINDOWS, batch_size=3)
    assert (found[bad].status, found[bad].reason) == ("failed", reason)
    assert found[bad].answer is None
    assert [found[w].answer for w in WINDOWS if w != bad] == [well[w] for w in WINDOWS if w != bad]


def test_frames_that_cannot_be_read_fail_every_segment_with_the_reason(llama: VideoLlama3) -> None:
    def gone(ticks: Sequence[int]) -> Frames:
        raise OSError("the timeline is gone")

    asked = {"fps": 1, "n_ticks": 60, "prompt": "?", "max_frames": 8, "max_new_tokens": 160}
    found = dict(llama.analyse(gone, WINDOWS, **asked))
    assert {(a.reason, a.detail) for a in found.values()} == {
        ("model_error", "OSError: the timeline is gone")
    }


def test_a_model_that_computes_no_numbers_gives_no_answer(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = llama.model.model.language_model.norm.weight
    monkeypatch.setattr(weight, "data", torch.full_like(weight, torch.nan))
    analysis = analyse(llama, [Window(0, 10)])[Window(0, 10)]
    assert (analysis.status, analysis.reason, analysis.answer) == ("failed", "model_error", None)
    assert "NaN" in str(analysis.detail)


def test_an_answer_that_does_not_parse_is_a_failure_with_its_text(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = GeneratedAnswer('{"virality_score": 7', (7.0, 7.0, 7.0))
    monkeypatch.setattr(llama.decoder, "answer", lambda *args, **kwargs: [cut])
    analysis = analyse(llama, [Window(0, 10)])[Window(0, 10)]
    assert (analysis.status, analysis.reason) == ("failed", "invalid_answer")
    assert analysis.detail is not None
    assert '{"virality_score": 7' in analysis.detail


def test_too_small_a_budget_is_a_failure_that_says_so(llama: VideoLlama3) -> None:
    analysis = analyse(llama, [Window(0, 10)], max_new_tokens=20)[Window(0, 10)]
    assert analysis.reason == "model_error"
    assert "20 new tokens cannot hold an answer" in str(analysis.detail)


@pytest.mark.parametrize(
    ("error", "reason", "tries"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", 2),
        (RuntimeError("can't allocate memory: 9 bytes"), "out_of_memory", 2),
        (RuntimeError("something else"), "model_invalid", 1),
    ],
)
def test_a_model_that_does_not_load_is_an_error_and_tried_again_only_if_memory_was_short(
    demo_models: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, tries: int
) -> None:
    tried = []

    def failing(checkpoint: object, **kwargs: object) -> None:
        tried.append(checkpoint)
        raise error

    monkeypatch.setattr(adapter, "_held", Held(adapter._load))
    monkeypatch.setattr(adapter, "load_model", failing)
    for _ in range(2):
        with pytest.raises(ModelError, match=f"cannot be loaded as VideoLLaMA3 .*{error}") as caught:
            load_videollama3(resolve_checkpoint(str(demo_models / "videollama3")))
        assert caught.value.reason == reason
    assert len(tried) == tries
    assert not videollama3_status().loaded


def test_the_status_tells_what_is_loaded(demo_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_held", Held(adapter._load))
    assert videollama3_status() == ModelStatus(loaded=False)
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    load_videollama3(checkpoint)
    status = videollama3_status()
    assert (status.loaded, status.model, status.revision) == (True, checkpoint.model, checkpoint.revision)
    assert status.quantization == "none"
    assert status.memory_bytes > 4 * 100_000


def test_threads_share_one_model(demo_models: Path) -> None:
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: load_videollama3(checkpoint), range(4)))
        assert len({id(model) for model in models}) == 1
        answers = list(pool.map(lambda model: analyse(model, [Window(0, 8)]), models))
    assert all(answer == answers[0] for answer in answers)
