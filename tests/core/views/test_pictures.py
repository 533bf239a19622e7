"""Which pictures stand for a segment, and what files are called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.records import Analysis, Answer, Moment, Segment, VideoRef, Window
from tasks.core.speech.cuts import Cut
from tasks.core.speech.heard import Heard
from tasks.core.views.pictures import clip_name, cut_of, sheet_ticks, strongest_tick, thumbnail_name
from tests.report import ranked_video


def segment(*moments: float, rank: int = 1) -> Segment:
    found = Answer(1, 1, 1, (), tuple(Moment(at_s, "why") for at_s in moments), "", "")
    return Segment(Window(10, 30), 1, 1, Analysis.ok(found), rank)


@pytest.mark.parametrize(
    ("moments", "tick"), [([], 20), ([7.5, 9.0], 15), ([2.0, 9.0], 18), ([15.0], 20), ([5.0], 10)]
)
def test_the_first_moment_inside_stands_for_a_segment_else_its_middle(
    moments: list[float], tick: int
) -> None:
    assert strongest_tick(segment(*moments), replace(ranked_video().timeline, fps=2)) == tick


def test_without_an_answer_the_middle_stands_for_a_segment() -> None:
    assert (
        strongest_tick(replace(segment(), analysis=Analysis.skipped("disabled")), ranked_video().timeline)
        == 20
    )


def test_the_poster_of_a_clip_is_the_thumbnail() -> None:
    timeline, item = ranked_video().timeline, segment(14.0)
    cut = cut_of(item, timeline)
    assert (cut.start_s, cut.end_s, cut.poster_s) == (10, 30, 15)
    assert thumbnail_name(timeline.video, 14, timeline.fps).endswith("/000015000.jpg")


def test_a_clip_and_its_pictures_are_of_the_cut() -> None:
    timeline = ranked_video().timeline
    item = replace(segment(10.0), cut=Cut(11_350, 29_120, is_clean=True, speech_ratio=1.0))
    assert strongest_tick(item, timeline) == 20  # 10 s is cut away
    cut = cut_of(item, timeline)
    assert (cut.start_s, cut.end_s, cut.poster_s) == (11.35, 29.12, 21)
    assert clip_name(timeline.video, cut, rank=1, run_id="run").endswith("/0001_0m11.35s-0m29.12s.mp4")
    short = replace(item, window=Window(10, 12), cut=Cut(10_200, 10_900, is_clean=True, speech_ratio=1.0))
    assert cut_of(short, timeline).poster_s == 10.9


def test_the_ends_of_a_clip_move_where_nobody_is_cut_off() -> None:
    timeline = replace(
        ranked_video().timeline, heard=Heard("ok", 43_000, ((11_500, 20_000), (24_000, 29_000)))
    )
    clean = replace(segment(), cut=Cut(11_350, 29_120, is_clean=True, speech_ratio=1.0))
    assert (cut_of(clean, timeline).start_room_s, cut_of(clean, timeline).end_room_s) == (0.182, 0.152)
    cut_off = replace(segment(), cut=Cut(12_000, 28_000, is_clean=False, speech_ratio=1.0))
    assert (cut_of(cut_off, timeline).start_room_s, cut_of(cut_off, timeline).end_room_s) == (0.5, 0.5)
    short = replace(segment(), cut=Cut(20_500, 21_500, is_clean=True, speech_ratio=0.0))
    assert (cut_of(short, timeline).start_room_s, cut_of(short, timeline).end_room_s) == (0.25, 0.25)
    unheard = cut_of(clean, replace(timeline, heard=None))
    assert (unheard.start_room_s, unheard.end_room_s) == (0.5, 0.5)


def test_a_sheet_stays_inside_its_segment() -> None:
    for length in range(1, 40):
        ticks = sheet_ticks(Window(5, 5 + length))
        assert ticks == sorted(set(ticks))
        assert all(5 <= tick < 5 + length for tick in ticks)


def test_the_same_picture_of_a_video_has_the_same_name_in_every_run() -> None:
    one = VideoRef("s3://b/v.mp4", "etag", 1)
    assert thumbnail_name(one, 9, 1) == thumbnail_name(replace(one, size_bytes=2), 19, 2)
    assert thumbnail_name(one, 9, 1) != thumbnail_name(one, 18, 2)  # the last before 9.5 s
    assert thumbnail_name(one, 9, 1) != thumbnail_name(replace(one, etag="other"), 9, 1)


def test_the_names_of_clips_sort_by_rank_and_hold_nothing_odd() -> None:
    video, timeline = VideoRef("s3://b/../Ein <Hund> \N{SNOWMAN}.mp4", "e", 1), ranked_video().timeline
    names = []
    for rank in (1, 2, 10, 100):
        item = segment(rank=rank)
        names.append(clip_name(video, cut_of(item, timeline), rank=rank, run_id="run"))
    assert names == sorted(names)
    assert names[0].startswith("clips/run/Ein_Hund-")
    assert names[0].endswith("/0001_0m10s-0m30s.mp4")
    assert all(name.isascii() and " " not in name for name in names)
