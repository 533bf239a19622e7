"""What the report shows, and of a large library which part."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.adapters.report.page import render
from tasks.core.records import RankedVideo
from tasks.core.tables.rows import RunStamp
from tasks.core.tables.run_ranking import with_column
from tasks.core.tables.schemas import SEGMENT
from tasks.core.views import report as report_module
from tests.rankings import rankings_table
from tests.report import SOURCE, answer, failure, in_moments, made_report, ranked_video, some_sheet


def test_videos_come_best_first_with_their_moments_by_rank() -> None:
    weak = ranked_video(f"{SOURCE}/weak.mp4", segments=1, answered=answer())
    strong = ranked_video(f"{SOURCE}/more/strong.mp4", segments=3, answered=answer())
    made = made_report(weak, strong)
    assert {video.name for video in made.videos} == {"weak.mp4", "more/strong.mp4"}
    assert [card.row["run_rank"] for card in made.best] == [1, 2, 3, 4]
    assert all([c.row["rank"] for c in v.cards] == list(range(1, len(v.cards) + 1)) for v in made.videos)
    assert sum(made.bins) == 4


def test_the_best_segment_stands_for_its_moment_and_the_others_are_its_alternatives() -> None:
    made = made_report(in_moments(ranked_video(segments=4, answered=answer())))
    (moment,) = made.videos[0].moments
    assert moment.best.row["rank"] == 1
    assert [card.row["rank"] for card in moment.alternatives] == [2, 3, 4]
    assert made.best == [moment.best]
    assert (made.moments, sum(made.bins)) == (1, 4)


def test_of_earlier_versions_each_segment_is_a_moment_of_its_own() -> None:
    made = made_report(ranked_video(segments=4, answered=answer()))
    assert [len(moment.alternatives) for moment in made.videos[0].moments] == [0] * 4
    assert made.moments == 4


def test_of_too_many_videos_those_of_this_run_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_VIDEOS", 2)
    videos = [ranked_video(f"{SOURCE}/{name}.mp4", answered=answer()) for name in "abc"]
    made = made_report(*videos, unchanged={f"{SOURCE}/a.mp4": "run", f"{SOURCE}/b.mp4": "run"})
    assert [video.name for video in made.videos] == ["a.mp4", "c.mp4"]
    assert made.videos_left_out == 1
    assert sum(made.bins) == 9  # of all


def test_of_too_many_failures_the_first_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_FAILURES", 1)
    made = made_report(failures=(failure("a"), failure("b"), failure("c")))
    assert (len(made.failures), made.failures_left_out) == (1, 2)


def test_where_room_for_pictures_is_short_each_video_has_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "PICTURE_BYTES", 3 * len(some_sheet()))
    made = made_report(*(ranked_video(f"{SOURCE}/{name}.mp4", answered=answer()) for name in "ab"))
    with_sheet = {
        (video.name, card.row["rank"]) for video in made.videos for card in video.cards if card.sheet
    }
    assert {("a.mp4", 1), ("b.mp4", 1)} < with_sheet
    assert len(with_sheet) == 3


def test_a_source_that_is_one_video_is_called_by_its_name() -> None:
    made = made_report(ranked_video("file:///videos/dog.mp4"), source="file:///videos/dog.mp4")
    assert made.videos[0].name == "dog.mp4"


def test_what_another_video_shows_is_neither_among_the_best_nor_takes_anybodys_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def with_copies(videos: Iterable[RankedVideo], stamp: RunStamp) -> pa.Table:
        table = rankings_table(videos, stamp)
        original = {"video_uri": f"{SOURCE}/b.mp4", "start": 4.0, "end": 9.0}
        are_copies = pc.equal(table["video_uri"], f"{SOURCE}/a.mp4").to_pylist()
        column = pa.array([original if each else None for each in are_copies], SEGMENT)
        return with_column(table, "duplicate_of", column)

    monkeypatch.setattr("tests.report.rankings_table", with_copies)
    videos = [ranked_video(f"{SOURCE}/{name}.mp4", answered=answer()) for name in "abc"]
    made = made_report(*videos)
    assert [card.copy_of for card in made.best] == [None] * 6
    assert "<bdi>b.mp4</bdi> shows the same at 0:04." in render(made)
    monkeypatch.setattr("tasks.core.views.report.MAX_VIDEOS", 2)
    earlier = made_report(*videos, unchanged=dict.fromkeys((f"{SOURCE}/{name}.mp4" for name in "abc"), "run"))
    assert [video.name for video in earlier.videos] == ["b.mp4", "c.mp4"]
