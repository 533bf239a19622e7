"""A video of which nobody knows what is said is ranked all the same, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import transcribe
from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.whisper import model as whisper
from tasks.core.errors import ModelError, WorkerLost
from tasks.core.records import ScoredVideo, ScoredWindow, Timeline, VideoRef, Window
from tasks.core.scoring.window_cuts import scored_windows
from tasks.core.speech.chunks import chunks
from tasks.core.speech.heard import Heard, Transcript, Word
from tasks.core.speech.spans import Span
from tasks.run.run import Run
from tasks.work.hearing import keep_transcript, recall_heard
from tasks.work.transcripts import transcribed_before, written_by
from tests.spec import make_spec

pytestmark = pytest.mark.usefixtures("without_a_run")

VIDEO = VideoRef("s3://bucket/a.mp4", "0123456789abcdef" * 2, 1000)
SPOKEN = Heard.of([(1_000, 5_000)], end_ms=20_000)


@pytest.fixture
def run(demo_models: Path, tmp_path: Path) -> Run:
    spec = make_spec("s3://bucket", tmp_path / "out")
    checkpoint = resolve_checkpoint(str(demo_models / "whisper"))
    return Run(replace(spec, run_id=tmp_path.name, whisper=checkpoint), tmp_path)


def scored(heard: Heard | None) -> ScoredVideo:
    timeline = Timeline(VIDEO, "frames", 20, 1, 28, 28, 20.0, "pyav", heard=heard)
    window = ScoredWindow(Window(0, 10), 50, is_candidate=True)
    return ScoredVideo(timeline, (window,), np.zeros((1, 4), np.float16), "head")


def model_of(run: Run) -> tuple[str, ...]:
    assert isinstance(run.spec.whisper, Checkpoint)
    return written_by(run.spec.whisper, run.spec)


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
    found = transcribe.transcribe.fn([(800, 5_200)], scored(SPOKEN).timeline, run)
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
        transcribe.transcribe.fn([(800, 5_200)], scored(SPOKEN).timeline, run)


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


def test_the_model_is_loaded_once_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Run] = []
    monkeypatch.setattr(Run, "do", lambda self, *_, **__: loaded.append(self))
    other = replace(run, spec=replace(run.spec, run_id=f"{run.spec.run_id}-later"))
    assert [transcribe.why_not_loaded(each) for each in (run, run, other, run)] == [None] * 4
    assert loaded == [run, other]


@pytest.mark.parametrize(("reason", "tries"), [("model_invalid", 1), ("out_of_memory", 3)])
def test_a_model_that_cannot_be_loaded_is_tried_and_told_once_a_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, reason: str, tries: int
) -> None:
    """Where memory is short it is tried again for each video: another program may have ended."""
    asked, told = list[Any](), list[str]()
    monkeypatch.setattr(transcribe, "log_event", lambda *said, **_: told.append(said[2]))

    def fail(self: Run, work: Any, *_: Any, **__: Any) -> None:
        asked.append(work)
        raise ModelError("It is not whole.", reason=reason)

    monkeypatch.setattr(Run, "do", fail)
    videos = [replace(VIDEO, uri=f"s3://bucket/{number}.mp4") for number in range(3)]
    for video in videos:
        timeline = replace(scored(SPOKEN).timeline, video=video)
        (failure,) = transcribe.transcribe.fn([(800, 5_200)], timeline, run).failures
        assert (failure.video, failure.stage, failure.kind, failure.reason) == (
            *(video, "speech", "failed", reason),
        )
        assert failure.detail.endswith("ranked all the same. It is not whole.")
    assert asked == [transcribe.check_whisper] * tries
    assert len(told) == tries
    assert all(each.endswith("It is not whole.") for each in told)


def test_what_is_written_down_is_kept_a_few_chunks_at_a_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed goes on from there, as does the next try, and a later run."""
    spoken = Heard.of([(20_000 * k + 1_000, 20_000 * k + 15_000) for k in range(40)], end_ms=800_000)
    wanted = chunks(spoken.speech, end_ms=spoken.end_ms)
    assert len(wanted) == 40
    timeline = replace(scored(spoken).timeline, n_ticks=800, duration_s=800.0)
    asked: list[list[Span]] = []

    def write(part: list[Span], known: Timeline, *_: Any) -> tuple[Transcript, int]:
        asked.append(part)
        if len(asked) == 3:
            raise WorkerLost("It was killed.")
        words = tuple(Word(start, start + 400, " so", 0.9) for start, _ in part)
        return Transcript(words, "en", tuple(part), model_of(run)), 0

    monkeypatch.setattr(transcribe, "new_transcript", write)
    monkeypatch.setattr(transcribe, "check_whisper", lambda *_: None)
    with pytest.raises(WorkerLost):
        transcribe.transcribe.fn(wanted, timeline, run)
    (kept,) = recall_heard([VIDEO], run.spec).values()
    assert kept.transcript
    done = len(asked[0]) + len(asked[1])
    assert 0 < done < 40
    assert list(kept.transcript.chunks) == wanted[:done]
    monkeypatch.setattr(transcribe, "attempt", lambda: 2)
    found = transcribe.transcribe.fn(wanted, timeline, run)
    assert [chunk for part in [*asked[:2], *asked[3:]] for chunk in part] == wanted
    assert all(len(part) <= transcribe.KEPT_AT_ONCE for part in asked)
    assert found.timeline.heard
    assert found.timeline.heard.transcript
    assert len(found.timeline.heard.transcript.words) == 40


def test_what_was_written_down_before_a_video_fails_is_in_its_ranking(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Transcript((), "en", ((800, 5_200),), model_of(run))
    keep_transcript(scored(SPOKEN).timeline, known, run.spec)
    failing(ModelError("No room.", reason="out_of_memory"), monkeypatch, attempt=1)
    monkeypatch.setattr(transcribe, "check_whisper", lambda *_: None)
    found = transcribe.transcribe.fn([(800, 5_200)], scored(SPOKEN).timeline, run)
    assert [failure.reason for failure in found.failures] == ["out_of_memory"]
    assert found.timeline.heard
    assert found.timeline.heard.transcript == known


def test_what_is_said_decides_the_final_cut_and_a_later_run_cuts_alike(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = Heard.of([(0, 8_000), (8_200, 10_000), (11_000, 22_000), (23_000, 58_000)], end_ms=60_000)
    timeline = Timeline(VIDEO, "frames", 60, 1, 28, 28, 60.0, "pyav", heard=spoken)
    chosen = [replace(each, is_candidate=True) for each in scored_windows([Window(9, 24)], [50], timeline)]
    first = ScoredVideo(timeline, tuple(chosen), np.zeros((1, 4), np.float16), "head")

    def write(part: list[Span], *_: Any) -> tuple[Transcript, int]:
        return Transcript((Word(7_500, 7_990, " so.", 0.9),), "en", tuple(part), model_of(run)), 0

    monkeypatch.setattr(transcribe, "new_transcript", write)
    monkeypatch.setattr(transcribe, "check_whisper", lambda *_: None)
    monkeypatch.setattr(transcribe, "result_for", lambda _, task, *arguments: task.fn(*arguments))
    found = transcribe.transcribe_candidates(first, run)
    starts = [each.candidates[0].cut and each.candidates[0].cut.start_ms for each in (first, found)]
    assert starts == [10_850, 8_075]
    known = recall_heard([VIDEO], run.spec)[VIDEO]
    later = transcribed_before(replace(first, timeline=replace(timeline, heard=known)), run.spec)
    assert later
    assert later.windows == found.windows
