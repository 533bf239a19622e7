"""Videos are ranked again from stored scores."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tasks.core.records import ScoredWindow, Timeline, VideoRef, Window
from tasks.core.settings import Settings
from tasks.core.tables.reuse import by_video, restore_scores, stored_scores

TIMELINE = Timeline(VideoRef("s3://b/a", "etag", 9), "", 12, 1, 28, 28, 11.5, "decord")


def settings(**groups: Any) -> Settings:
    return Settings.model_validate({"source": "videos", "output": "rankings", **groups})


STORED = {
    "start": [0.0, 3.0, 6.0, 7.0],
    "videomae_score": [10, 90, 80, 20],
    "fast_kind": ["salience"] * 4,
    "analysed_before": [None, False, True, False],
}
SHORT_WINDOWS = {"window_seconds": [5], "stride_seconds": 3}


def test_candidates_are_chosen_anew_from_stored_scores() -> None:
    asked = settings(windows=SHORT_WINDOWS, ranking={"top_n": 1, "candidate_multiplier": 2})
    scored = restore_scores(TIMELINE, STORED, asked)
    assert scored
    assert scored.windows == (
        ScoredWindow(Window(0, 5), 10),
        ScoredWindow(Window(3, 8), 90, is_candidate=True, pack_rank=1),
        ScoredWindow(Window(6, 11), 80, is_candidate=True, pack_rank=2, analysed_before=True),
        ScoredWindow(Window(7, 12), 20),
    )
    assert scored.fast_kind == "salience"


@pytest.mark.parametrize("windows", [{"window_seconds": [5], "stride_seconds": 2}, {"window_seconds": [59]}])
def test_windows_that_are_not_the_stored_ones_are_noticed(windows: dict[str, Any]) -> None:
    assert restore_scores(TIMELINE, STORED, settings(windows=windows)) is None


def test_stored_scores_are_told_apart_by_video() -> None:
    columns = STORED | {"video_uri": ["a", "a", "b", "b"], "embedding": [None] * 4}
    found = dict(by_video(pa.table(columns)))
    assert {uri: stored_scores(rows)["start"] for uri, rows in found.items()} == {"a": [0, 3], "b": [6, 7]}
    assert stored_scores(found["b"])["analysed_before"] == [True, False]
    with_a_gap = pa.table(columns | {"videomae_score": [None, 1, 2, 3]})
    assert stored_scores(with_a_gap)["start"] == [3, 6, 7]
    with pytest.raises(pa.ArrowException):
        stored_scores(pa.table(columns | {"videomae_score": [["no"], ["number"], [], []]}))


def test_what_earlier_versions_stored_names_no_window_that_was_analysed_before() -> None:
    columns = {name: STORED[name] for name in STORED if name != "analysed_before"}
    found = stored_scores(pa.table(columns | {"video_uri": ["a"] * 4}))
    assert found["analysed_before"] == [None] * 4
    assert restore_scores(TIMELINE, found, settings(windows=SHORT_WINDOWS))
