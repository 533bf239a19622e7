"""What is said is written down once, only where somebody speaks in a candidate, and found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.whisper.model import Whisper
from tasks.core.records import ScoredVideo, ScoredWindow, Stage, Timeline, Window
from tasks.core.scoring.said import with_transcripts
from tasks.core.settings import Ranking
from tasks.core.speech.heard import Heard, Transcript
from tasks.rank import rank_video
from tasks.work.analyses import Analyses, quotes
from tasks.work.hearing import keep_heard, keep_transcript, recall_heard
from tasks.work.opening import close_timeline, open_video
from tasks.work.spec import Missing, RunSpec
from tasks.work.transcripts import new_transcript, transcribed_before, unwritten_chunks, with_own_words
from tests.adapters.video.sound.voice import dubbed
from tests.media import numbered_video
from tests.spec import make_spec

TALKS = [(2, 9), (14, 17), (36, 39)]
"""Of 40 s."""


@pytest.fixture(scope="module")
def whisper(demo_models: Path) -> Checkpoint:
    return resolve_checkpoint(str(demo_models / "whisper"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talk")
    (folder / "in").mkdir()
    dubbed(numbered_video(folder / "in" / "talk.mp4", seconds=40), *TALKS)
    return folder


@pytest.fixture(scope="module")
def first_spec(folder: Path, whisper: Checkpoint) -> RunSpec:
    return replace(make_spec(folder / "in", folder / "out"), whisper=whisper)


@pytest.fixture(scope="module")
def opened(folder: Path, first_spec: RunSpec) -> Any:
    (video,) = first_spec.source.videos("**")
    timeline = open_video(video, first_spec, folder / "scratch")
    assert isinstance(timeline, Timeline)
    yield timeline
    close_timeline(timeline)


@pytest.fixture
def spec(first_spec: RunSpec, tmp_path: Path) -> RunSpec:
    """A run with an output of its own."""
    settings = first_spec.settings.model_copy(update={"output": str(tmp_path / "out")})
    return replace(first_spec, settings=settings, run_id=tmp_path.name)


def later(spec: RunSpec, *, whisper: Any = ..., **speech: Any) -> RunSpec:
    """The next run, with other settings of speech, or another model."""
    group = spec.settings.speech.model_copy(update=speech)
    settings = spec.settings.model_copy(update={"speech": group})
    used = spec.whisper if whisper is ... else whisper
    return replace(spec, run_id=f"{spec.run_id}-later", settings=settings, whisper=used)


def scored(timeline: Timeline, *candidates: tuple[int, int]) -> ScoredVideo:
    windows = tuple(ScoredWindow(Window(*ticks), 50, is_candidate=True) for ticks in candidates)
    return ScoredVideo(timeline, windows, np.zeros((len(windows), 4), np.float16), "head")


def recalled(timeline: Timeline, spec: RunSpec, *candidates: tuple[int, int]) -> ScoredVideo:
    """The video as a later run knows it that does not open it."""
    known = recall_heard([timeline.video], spec)
    heard = replace(timeline, path="", heard=known.get(timeline.video))
    return scored(with_own_words(heard, spec), *candidates)


def write_down(video: ScoredVideo, spec: RunSpec) -> Timeline:
    assert isinstance(spec.whisper, Checkpoint)
    wanted = unwritten_chunks(video, spec)
    new, _ = new_transcript(wanted, video.timeline, spec.whisper, spec)
    return keep_transcript(video.timeline, new, spec)


def chunks_of(timeline: Timeline) -> Sequence[tuple[int, int]]:
    assert timeline.heard
    assert timeline.heard.transcript
    return timeline.heard.transcript.chunks


def test_only_what_is_said_in_candidates_is_written_down_and_no_run_writes_it_again(
    opened: Timeline, spec: RunSpec
) -> None:
    timeline = keep_heard(opened, spec)
    assert timeline.heard
    assert len(timeline.heard.speech) >= 3
    video = scored(timeline, (0, 10), (20, 32))
    assert transcribed_before(video, spec) is None
    written = write_down(video, spec)
    assert [(round(start / 1000), round(end / 1000)) for start, end in chunks_of(written)] == [(2, 9)]

    for night in (later(spec), later(spec, in_prompt=False)):
        known = transcribed_before(recalled(opened, night, (0, 10), (20, 32)), night)
        assert known
        assert known.timeline.heard == written.heard
        assert known.failures == ()
    # More is said in another candidate.
    more = recalled(opened, later(spec), (0, 10), (12, 20))
    assert transcribed_before(more, later(spec)) is None
    (missing,) = unwritten_chunks(more, later(spec))
    both = write_down(scored(written, (0, 10), (12, 20)), later(spec))
    assert chunks_of(both) == (*chunks_of(written), missing)


@pytest.mark.parametrize("speech", [{"language": "pt"}, {"language": "en"}])
def test_in_a_language_that_is_forced_all_is_written_anew(
    opened: Timeline, spec: RunSpec, speech: dict[str, Any]
) -> None:
    write_down(scored(keep_heard(opened, spec), (0, 10)), spec)
    night = later(spec, **speech)
    assert transcribed_before(recalled(opened, night, (0, 10)), night) is None
    written = write_down(scored(keep_heard(opened, night), (0, 10)), night)
    assert written.heard
    assert written.heard.transcript
    assert written.heard.transcript.language == speech["language"]


def test_another_model_writes_all_anew_and_a_moved_one_nothing(
    opened: Timeline, spec: RunSpec, whisper: Checkpoint
) -> None:
    write_down(scored(keep_heard(opened, spec), (0, 10)), spec)
    moved = later(spec, whisper=replace(whisper, model="/elsewhere/whisper"))
    assert transcribed_before(recalled(opened, moved, (0, 10)), moved)
    other = later(spec, whisper=replace(whisper, revision="sha256:another"))
    assert transcribed_before(recalled(opened, other, (0, 10)), other) is None


def test_without_the_model_what_is_known_is_taken_and_what_is_not_is_a_failure(
    opened: Timeline, spec: RunSpec
) -> None:
    written = write_down(scored(keep_heard(opened, spec), (0, 10)), spec)
    without = later(spec, whisper=Missing("model_unavailable", "The hub is silent."), language="pt")
    known = transcribed_before(recalled(opened, without, (0, 10)), without)
    assert known
    assert (known.timeline.heard, known.failures) == (written.heard, ())

    unknown = transcribed_before(recalled(opened, without, (0, 10), (12, 20)), without)
    assert unknown
    (failure,) = unknown.failures
    assert (failure.stage, failure.kind, failure.reason) == (Stage.SPEECH, "failed", "model_unavailable")
    assert failure.detail.startswith("What is said is not known, and the video is ranked all the same.")
    assert failure.detail.endswith("The hub is silent.")
    texts = with_transcripts(ranked(unknown), unknown.timeline)
    assert [text.transcript is None for text in texts] == [False, True]


def ranked(video: ScoredVideo) -> Any:
    from tasks.core.records import Analysis

    analyses = Analyses(dict.fromkeys([w.window for w in video.candidates], Analysis.skipped("disabled")))
    found = rank_video(video, analyses, Ranking())
    assert found.failures == video.failures
    return sorted(found.segments, key=lambda segment: segment.window)


def test_where_nobody_wants_it_nothing_is_known(opened: Timeline, spec: RunSpec) -> None:
    write_down(scored(keep_heard(opened, spec), (0, 10)), spec)
    off = later(spec, whisper=None, transcribe=False)
    known = transcribed_before(recalled(opened, off, (0, 10)), off)
    assert known
    assert [segment.transcript for segment in ranked(known)] == [None]
    assert quotes(known.candidates, known.timeline, off) == {}


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (Heard("no_sound", 40_000), ""),
        (Heard.of([], end_ms=40_000), ""),
        (Heard.of([(30_000, 31_000)], end_ms=40_000), ""),
        (Heard.failed("sound_unreadable", end_ms=40_000), None),
        (None, None),
    ],
)
def test_where_nobody_speaks_the_model_is_not_even_loaded(
    opened: Timeline, spec: RunSpec, heard: Heard | None, said: str | None
) -> None:
    """Whoever would load it asks first whether there is anything that is not known."""
    known = transcribed_before(scored(replace(opened, heard=heard), (0, 10)), spec)
    assert known
    assert known.failures == ()
    assert [segment.transcript for segment in ranked(known)] == [said]


def test_the_language_is_told_by_the_whole_video_and_only_once(
    opened: Timeline, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_by: list[Sequence[tuple[int, int]]] = []

    def language(self: Whisper, read: Any, chunks: Sequence[tuple[int, int]]) -> str:
        told_by.append(chunks)
        return "es"

    monkeypatch.setattr(Whisper, "language", language)
    timeline = write_down(scored(keep_heard(opened, spec), (0, 10)), spec)
    assert len(told_by.pop()) > len(chunks_of(timeline)) == 1
    write_down(scored(timeline, (0, 20)), spec)
    assert told_by == []


def test_the_judge_is_told_what_is_said_in_a_candidate(opened: Timeline, spec: RunSpec) -> None:
    timeline = write_down(scored(keep_heard(opened, spec), (0, 10), (20, 30)), spec)
    video = scored(timeline, (0, 10), (20, 30))
    told = quotes(video.candidates, timeline, spec)
    first, second = ranked(video)
    assert told == {first.window: first.transcript}
    assert (second.transcript, second.language) == ("", first.language)
    assert quotes(video.candidates, timeline, later(spec, in_prompt=False)) == {}


def test_words_lie_where_somebody_speaks(opened: Timeline, spec: RunSpec) -> None:
    timeline = write_down(scored(keep_heard(opened, spec), (0, 40)), spec)
    assert timeline.heard
    assert isinstance(timeline.heard.transcript, Transcript)
    words = timeline.heard.transcript.words
    assert len(words) > 5
    assert list(words) == sorted(words, key=lambda word: (word.start_ms, word.end_ms))
    for word in words:
        assert any(start <= word.start_ms <= word.end_ms <= end for start, end in timeline.heard.speech)
