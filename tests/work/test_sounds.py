"""What comes of videos whose sound is one of many kinds: each ends as the documents say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.whisper.model import Whisper
from tasks.core.records import ScoredVideo, Timeline, Window
from tasks.core.scoring.said import said_in
from tasks.core.scoring.window_cuts import scored_windows
from tasks.work.opening import close_timeline, open_video
from tasks.work.transcripts import new_transcript, transcribed_before, unwritten_chunks
from tests.adapters.video.sound.voice import dubbed
from tests.media import numbered_video, run_ffmpeg
from tests.spec import make_spec

SECONDS = 8
MUSIC = [f"0.3*sin(2*PI*{hertz}*t)*(0.6+0.4*sin(2*PI*2*t))" for hertz in (220, 277, 330)]


def silent(path: Path) -> Path:
    return numbered_video(path, seconds=SECONDS)


def talk(path: Path) -> Path:
    return dubbed(silent(path), (1, 4))


def surround(path: Path) -> Path:
    """The voice comes from the loudspeaker in the middle."""
    plain = talk(path.with_name("plain.mp4"))
    run_ffmpeg("-i", plain, "-c:v", "copy", "-af", "pan=5.1|FC=c0", "-c:a", "aac", path)
    plain.unlink()
    return path


def music(path: Path) -> Path:
    plain = silent(path.with_name("plain.mp4"))
    chord = f"aevalsrc={'+'.join(MUSIC)}:d={SECONDS}"
    run_ffmpeg("-i", plain, "-f", "lavfi", "-i", chord, "-c:v", "copy", "-c:a", "aac", path)
    plain.unlink()
    return path


def longer(path: Path) -> Path:
    return dubbed(silent(path), (1, 4), (6, 14))


KINDS: dict[str, tuple[Callable[[Path], Path], str, list[tuple[float, float]], str | None]] = {
    "5.1": (surround, "ok", [(1, 4)], None),
    "music": (music, "no_speech", [], ""),
    "none": (silent, "no_sound", [], ""),
    "longer than the picture": (longer, "ok", [(1, 4), (6, SECONDS)], None),
}
"""How it is made, `speech_status`, when somebody speaks, and what is said before Whisper is asked."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, demo_models: Path) -> Any:
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "in").mkdir()
    for name, (make, *_) in KINDS.items():
        make(folder / "in" / f"{name}.mp4")
    whisper = resolve_checkpoint(str(demo_models / "whisper"))
    spec = replace(make_spec(folder / "in", folder / "out"), whisper=whisper)
    timelines = {
        video.name: open_video(video, spec, folder / "scratch") for video in spec.source.videos("**")
    }
    yield spec, timelines
    for timeline in timelines.values():
        close_timeline(timeline)


def scored(timeline: Timeline) -> ScoredVideo:
    windows = [
        replace(each, is_candidate=True) for each in scored_windows([Window(0, SECONDS)], [50], timeline)
    ]
    return ScoredVideo(timeline, tuple(windows), np.zeros((1, 4), np.float16), "head")


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_ends_as_its_sound_has_it(opened: Any, kind: str) -> None:
    spec, timelines = opened
    _, status, spoken, said = KINDS[kind]
    timeline = timelines[f"{kind}.mp4"]
    assert isinstance(timeline, Timeline), timeline
    heard, video = timeline.heard, scored(timeline)
    assert heard
    assert (heard.status, heard.end_ms, timeline.sound_damage) == (status, 1000 * SECONDS, None)
    talks = [span for span in heard.speech if span[1] - span[0] > 100]
    edges = [edge / 1000 for edge in (talks[0][0], talks[-1][1])] if talks else []
    assert edges == pytest.approx([spoken[0][0], spoken[-1][1]] if spoken else [], abs=0.25)
    assert said_in(video.candidates, timeline) == [said]
    assert (transcribed_before(video, spec) is None) == bool(unwritten_chunks(video, spec)) == bool(spoken)
    # Without any there is no loudness either, and a window is watched as it is.
    assert (timeline.loudness is None) == (status == "no_sound")
    if not spoken:
        assert [item.cut and item.cut.is_clean for item in video.candidates] == [True]


def test_a_video_in_two_languages_has_none_and_each_chunk_its_own(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, timelines = opened
    timeline = timelines["longer than the picture.mp4"]
    votes = iter([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]] * 4)
    asked: list[str | None] = []
    hear = Whisper.hear

    def languages(self: Whisper, sounds: list[Any]) -> list[list[float]]:
        known = len(self.tokens.languages)
        return [[*next(votes), *[0.0] * (known - 3)] for _ in sounds]

    def hearing(self: Whisper, read: Any, chunks: Any, *, language: str | None) -> Any:
        asked.append(language)
        return hear(self, read, chunks, language=language)

    monkeypatch.setattr(Whisper, "_languages", languages)
    monkeypatch.setattr(Whisper, "hear", hearing)
    assert isinstance(spec.whisper, Checkpoint)
    wanted = unwritten_chunks(scored(timeline), spec)
    transcript, _ = new_transcript(wanted, timeline, spec.whisper, spec)
    assert transcript.language is None
    assert list(transcript.chunks) == wanted
    assert asked == [None]
