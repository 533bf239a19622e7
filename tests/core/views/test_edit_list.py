"""What an editing program is given: the moments, the best first, in whole pictures of the source."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from tasks.core.records import Analysis, Answer, Moment, Segment, Window
from tasks.core.speech.cuts import Cut
from tasks.core.views.edit_list import edit_list
from tests.report import ranked_video

TIMELINE = replace(
    ranked_video().timeline,
    source_fps=29.97,
    source_timecode="01:00:00;00",
    source_width=1920,
    source_height=1080,
)
ANSWER = Answer(80, 1, 1, (), (Moment(12.5, "It jumps."),), "A dog\njumps.", "")
FIRST = Segment(
    Window(10, 20), 91, 60, Analysis.ok(ANSWER), 1, cut=Cut(10_010, 19_520, is_clean=True, speech_ratio=1)
)
SECOND = Segment(Window(38, 43), 70, 70, Analysis.skipped("disabled"), 2, best_of_moment=True)
OTHER = replace(FIRST, rank=3, best_of_moment=False)


def test_one_take_a_moment_the_best_first() -> None:
    edit = edit_list([OTHER, SECOND, FIRST], TIMELINE)
    assert (edit.rate, edit.start, edit.is_drop) == (Fraction(30000, 1001), 107_892, True)
    assert (edit.width, edit.height, edit.frames, edit.name) == (1920, 1080, 1289, "dog.mp4")
    first, second = edit.takes
    assert (first.name, first.why) == ("#1 score 91", "A dog jumps.")
    assert (first.first, first.frames) == (300, 285)  # 10.01 s are 300 pictures, 9.51 s are 285.01
    assert first.marked == 389  # the last picture before 13 s, the end of the tick of the moment
    assert (second.first, second.frames) == (1138, 150)
    assert second.why == "VideoMAE only: fast score 70"


def test_a_take_shows_what_the_clip_shows_and_no_more_than_the_source() -> None:
    clipped = replace(FIRST, clip_span_s=(10.444, 19.0))
    long = replace(SECOND, cut=Cut(42_000, 43_100, is_clean=True, speech_ratio=1))
    takes = edit_list([clipped, long], TIMELINE).takes
    assert [(take.first, take.frames) for take in takes] == [(313, 256), (1258, 31)]


def test_a_video_without_sound_or_timecode_has_none() -> None:
    silent = replace(TIMELINE, has_sound=False, source_timecode="soon", source_fps=None)
    edit = edit_list([FIRST], silent)
    assert (edit.has_sound, edit.start, edit.is_drop) == (False, 0, False)
    assert edit_list([FIRST], TIMELINE).has_sound
