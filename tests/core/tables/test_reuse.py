"""Listed videos are told apart by what earlier runs found out about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tasks.core.records import Failure, FailureKind, ScoredWindow, Stage, Timeline, VideoRef, Window
from tasks.core.settings import Settings
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.reuse import PreviousRun, Reuse, match_videos, restore_scores, scores_by_video
from tasks.core.tables.schemas import RANKINGS

YESTERDAY = date(2026, 11, 21)
TODAY = date(2026, 11, 22)
DIGESTS = Digests("scoring", "rejecting", "budget")


def ref(name: str) -> VideoRef:
    return VideoRef(f"s3://b/{name}", "etag", 9)


def entry(name: str, **changes: Any) -> LibraryEntry:
    timeline = Timeline(ref(name), "", 12, 1, 28, 28, 11.5, "decord")
    return replace(LibraryEntry(ref(name), DIGESTS, YESTERDAY, timeline, "run-1", YESTERDAY), **changes)


def rankings(*names: str) -> pa.Table:
    rows = [{"video_uri": ref(name).uri} | dict.fromkeys(REQUIRED) for name in names]
    return pa.Table.from_pylist(rows, schema=RANKINGS)


NO_RANKS = RANKINGS.empty_table()
REQUIRED = [name for name in RANKINGS.names if name != "video_uri"]

ENTRIES = {
    item.video.uri: item
    for item in (
        entry("ranked"),
        entry("unanswered", unanswered=1),
        entry("untranscribed", untranscribed=True),
        entry("without rows"),
        entry("replaced", video=replace(ref("replaced"), etag="old")),
        entry("rejected", timeline=None),
        entry("rejected without a reason", timeline=None),
        entry("elsewhere"),
        entry("long gone", last_listed=YESTERDAY - timedelta(days=60)),
    )
}
REFUSAL = Failure(
    replace(ref("rejected"), size_bytes=0), Stage.PROBE, FailureKind.REJECTED, "empty", "It is empty."
)
LISTED = [
    ref(name)
    for name in (
        "new",
        "ranked",
        "rejected",
        "rejected without a reason",
        "replaced",
        "unanswered",
        "untranscribed",
        "without rows",
    )
]


def names(found: Sequence[LibraryEntry]) -> list[str]:
    return [item.video.name for item in found]


@pytest.mark.parametrize("ranks_as_before", [True, False])
def test_videos_are_told_apart(ranks_as_before: bool) -> None:
    table = rankings("ranked", "unanswered", "untranscribed") if ranks_as_before else None
    previous = PreviousRun("run-1", ENTRIES, {REFUSAL.video.uri: REFUSAL}, NO_RANKS, table)
    found = match_videos(LISTED, previous, DIGESTS, today=TODAY, at_any_size=False)
    again = ["unanswered", "untranscribed", "without rows"]
    assert names(found.settled) == (["ranked"] if ranks_as_before else [])
    assert names(found.scored) == (again if ranks_as_before else ["ranked", *again])
    assert found.refused == [replace(REFUSAL, video=ref("rejected"))]
    assert [video.name for video in found.to_open] == ["new", "rejected without a reason", "replaced"]
    assert names(found.remembered) == ["rejected", "elsewhere"]
    assert {item.last_listed for item in found.unchanged} == {TODAY}
    assert [item.last_listed for item in found.remembered] == [TODAY, YESTERDAY]


def carried(*names: str, table: pa.Table | None) -> pa.Table:
    previous = PreviousRun("run-1", {}, {}, NO_RANKS, table)
    return Reuse([], [entry(name) for name in names], previous=previous).carried


def test_settled_videos_keep_their_rows() -> None:
    table = rankings("a", "b", "a", "c")
    assert carried("a", "c", table=table)["video_uri"].to_pylist() == ["s3://b/a", "s3://b/a", "s3://b/c"]
    assert carried("a", "b", "c", table=table).equals(table)
    assert carried(table=None).schema.equals(RANKINGS)
    assert Reuse([]).carried.schema.equals(RANKINGS)


def settings(**groups: Any) -> Settings:
    return Settings.model_validate({"source": "videos", "output": "rankings", **groups})


STORED = {"start": [0.0, 3.0, 6.0, 7.0], "videomae_score": [10, 90, 80, 20], "fast_kind": ["salience"] * 4}
SHORT_WINDOWS = {"window_seconds": [5], "stride_seconds": 3}


def test_candidates_are_chosen_anew_from_stored_scores() -> None:
    timeline = entry("a").timeline
    assert timeline
    asked = settings(windows=SHORT_WINDOWS, ranking={"top_n": 1, "candidate_multiplier": 2})
    scored = restore_scores(timeline, STORED, asked)
    assert scored
    assert scored.windows == (
        ScoredWindow(Window(0, 5), 10),
        ScoredWindow(Window(3, 8), 90, is_candidate=True, pack_rank=1),
        ScoredWindow(Window(6, 11), 80, is_candidate=True, pack_rank=2),
        ScoredWindow(Window(7, 12), 20),
    )
    assert scored.fast_kind == "salience"


@pytest.mark.parametrize("windows", [{"window_seconds": [5], "stride_seconds": 2}, {"window_seconds": [59]}])
def test_windows_that_are_not_the_stored_ones_are_noticed(windows: dict[str, Any]) -> None:
    timeline = entry("a").timeline
    assert timeline
    assert restore_scores(timeline, STORED, settings(windows=windows)) is None


def test_stored_scores_are_told_apart_by_video() -> None:
    columns = STORED | {"video_uri": ["a", "a", "b", "b"], "embedding": [None] * 4}
    found = scores_by_video(pa.table(columns))
    assert {uri: rows["start"].to_pylist() for uri, rows in found.items()} == {"a": [0, 3], "b": [6, 7]}
    assert scores_by_video(pa.table(columns).slice(0, 0)) == {}
    with_a_gap = scores_by_video(pa.table(columns | {"videomae_score": [None, 1, 2, 3]}))
    assert with_a_gap["a"]["start"].to_pylist() == [3]
    with pytest.raises(pa.ArrowException):
        scores_by_video(pa.table(columns | {"videomae_score": [["no"], ["number"], [], []]}))
