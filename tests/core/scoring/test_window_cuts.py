"""From windows to cuts, and to the ticks that a cut shows."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import ScoredWindow, Timeline, VideoRef, Window
from tasks.core.scoring.window_cuts import scored_windows, seconds_of, stretch_of, ticks_of
from tasks.core.scoring.windows import windows
from tasks.core.speech.cuts import Cut
from tasks.core.speech.heard import Heard

TALK = ((800, 9000), (9600, 21_000), (21_064, 60_000))


def timeline(*, seconds: float = 60.0, fps: int = 1, heard: Heard | None = None) -> Timeline:
    ref = VideoRef("s3://b/v.mp4", "e", 1)
    return Timeline(ref, "", ceil(seconds * fps), fps, 28, 28, seconds, "pyav", heard=heard)


def heard_in(video: Timeline, *speech: tuple[int, int]) -> Timeline:
    end_ms = int(video.duration_s * 1000)
    inside = [(begin, min(end, end_ms)) for begin, end in speech if begin < end_ms]
    return timeline(seconds=video.duration_s, fps=video.fps, heard=Heard.of(inside, end_ms=end_ms))


@pytest.mark.parametrize(
    "heard",
    [None, Heard.failed("sound_unreadable", end_ms=60_000), Heard.of([(0, 5000)], end_ms=59_999)],
    ids=["unknown", "failed", "of another reading"],
)
def test_where_nobody_knows_who_speaks_there_is_no_cut(heard: Heard | None) -> None:
    video = timeline(heard=heard)
    (scored,) = scored_windows([Window(3, 18)], [50], video)
    assert scored == ScoredWindow(Window(3, 18), 50)
    assert ticks_of(scored, video) == Window(3, 18)
    assert stretch_of(scored) == (3, 18)
    assert seconds_of(scored, video) == (3.0, 18.0)


@given(st.integers(1, 30), st.floats(5, 70), st.integers(1, 20))
def test_without_speech_a_cut_shows_what_its_window_does(fps: int, seconds: float, length: int) -> None:
    """At any rate, also where a tick begins between two milliseconds and the last is not a whole one."""
    for kind in ("no_sound", "no_speech"):
        video = timeline(seconds=seconds, fps=fps, heard=Heard(kind, int(seconds * 1000)))
        every = windows(video.n_ticks, lengths=[length * fps], stride=fps)
        for scored in scored_windows(every, [0] * len(every), video):
            assert scored.cut
            assert scored.cut.is_clean
            assert ticks_of(scored, video) == scored.window
            whole = video.seconds(scored.window.start), video.seconds(scored.window.end)
            assert seconds_of(scored, video) == pytest.approx(whole, abs=0.001)


@given(st.integers(1, 30), st.floats(5, 70), st.integers(1, 60))
def test_a_cut_shows_pictures_from_inside_it_and_no_more_than_its_window(
    fps: int, seconds: float, length: int
) -> None:
    video = heard_in(timeline(seconds=seconds, fps=fps), *TALK)
    every = windows(video.n_ticks, lengths=[length * fps], stride=fps)
    for scored in scored_windows(every, [0] * len(every), video):
        shown = ticks_of(scored, video)
        assert 0 <= shown.start < shown.end <= video.n_ticks
        assert shown.length <= scored.window.length
        if shown.length > 1:
            start_s, end_s = seconds_of(scored, video)
            assert start_s <= video.seconds(shown.start + 1)
            assert video.seconds(shown.end) <= end_s + 0.001


def test_a_cut_that_ends_with_the_video_shows_its_last_picture() -> None:
    video = heard_in(timeline(seconds=59.4), *TALK)
    (scored,) = scored_windows([Window(45, 60)], [0], video)
    assert scored.cut == Cut(45_000, 59_400, is_clean=False, speech_ratio=1.0)
    assert ticks_of(scored, video) == Window(45, 60)


def test_a_cut_begins_with_the_picture_that_is_shown_then() -> None:
    video = heard_in(timeline(), *TALK)
    (scored,) = scored_windows([Window(8, 30)], [0], video)
    assert scored.cut
    assert scored.cut.start_ms == 9450
    # The picture of tick 9 is the last one before 10 s.
    assert ticks_of(scored, video).start == 9
