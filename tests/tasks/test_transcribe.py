"""A video of which nobody knows what is said is ranked all the same, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.logging import disable_run_logger

from tasks import transcribe
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.whisper import model as whisper
from tasks.core.errors import ModelError, WorkerLost
from tasks.core.records import ScoredVideo, ScoredWindow, Timeline, VideoRef, Window
from tasks.core.speech.heard import Heard, Transcript, Word
from tasks.run.run import Run
from tests.spec import make_spec

VIDEO = VideoRef("s3://bucket/a.mp4", "0123456789abcdef" * 2, 1000)
SPOKEN = Heard.of([(1_000, 5_000)], end_ms=20_000)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with disable_run_logger():
        yield


@pytest.fixture
def run(demo_models: Path, tmp_path: Path) -> Run:
    spec = make_spec("s3://bucket", tmp_path / "out")
    checkpoint = resolve_checkpoint(str(demo_models / "whisper"))
    return Run(replace(spec, run_id=tmp_path.name, whisper=checkpoint), tmp_path)


def scored(heard: Heard | None) -> ScoredVideo:
    timeline = Timeline(VIDEO, "frames", 20, 1, 28, 28, 20.0, "pyav", heard=heard)
    window = ScoredWindow(Window(0, 10), 50, is_candidate=True)
    return ScoredVideo(timeline, (window,), np.zeros((1, 4), np.float16), "head")


def failing(error: Exception, monkeypatch: pytest.MonkeyPatch, *, attempt: int) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(transcribe, "new_transcript", fail)
    monkeypatch.setattr(transcribe, "attempt", lambda: attempt)


@pytest.mark.parametrize(
    ("error", "attempt", "reason"),
    [
        (ModelError("No room.", reason="out_of_memory"), 1, "out_of_memory"),
        (ModelError("Not whole.", reason="model_invalid"), 1, "model_invalid"),
        (WorkerLost("Too slow.", reason="deadline"), 3, "deadline"),
        (ZeroDivisionError("a bug"), 3, "unexpected"),
    ],
)
def test_whatever_goes_wrong_is_a_failure_of_a_video_that_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, attempt: int, reason: str
) -> None:
    failing(error, monkeypatch, attempt=attempt)
    found = transcribe.transcribe.fn([(800, 5_200)], scored(SPOKEN), run)
    (failure,) = found.failures
    assert (failure.stage, failure.kind, failure.reason, failure.attempts) == (
        *("speech", "failed", reason),
        attempt,
    )
    assert failure.detail.startswith("What is said is not known, and the video is ranked all the same.")
    assert str(error) in failure.detail
    assert found.timeline.heard == SPOKEN


def test_what_another_model_wrote_is_not_taken_where_this_one_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(ModelError("No room.", reason="out_of_memory"), monkeypatch, attempt=1)
    foreign = Transcript((Word(1_000, 2_000, " Foreign", 0.9),), "en", ((800, 5_200),), ("another",))
    monkeypatch.setattr(transcribe, "result_for", lambda _, task, *arguments: task.fn(*arguments))
    found = transcribe.transcribe_candidates(scored(replace(SPOKEN, transcript=foreign)), run)
    assert [failure.reason for failure in found.failures] == ["out_of_memory"]
    assert found.timeline.heard == SPOKEN


@pytest.mark.parametrize("error", [WorkerLost("It died."), OSError("The disk hiccups.")])
def test_what_may_pass_is_tried_again_first(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(error, monkeypatch, attempt=1)
    with pytest.raises(type(error)):
        transcribe.transcribe.fn([(800, 5_200)], scored(SPOKEN), run)


@pytest.mark.parametrize(
    "heard",
    [
        Heard.of([], end_ms=20_000),
        Heard("no_sound", 20_000),
        Heard.failed("sound_unreadable", end_ms=20_000),
        Heard.of([(12_000, 15_000)], end_ms=20_000),
        None,
    ],
)
def test_without_speech_in_a_candidate_the_model_is_not_even_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch, heard: Heard | None
) -> None:
    monkeypatch.setattr(whisper, "load_whisper", lambda *_, **__: pytest.fail("it is loaded"))
    found = transcribe.transcribe_candidates(scored(heard), run)
    assert found.failures == ()
    assert found.timeline.heard == heard


def test_the_model_is_loaded_once_a_run_with_a_name(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded: list[Run] = []
    monkeypatch.setattr(Run, "do", lambda self, *_, **__: loaded.append(self))
    transcribe.load_once(run)
    transcribe.load_once(run)
    assert loaded == [run]
    other = replace(run, spec=replace(run.spec, run_id=f"{run.spec.run_id}-later"))
    transcribe.load_once(other)
    assert loaded == [run, other]
