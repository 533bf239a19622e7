"""A video is ranked by what its scores say; what is wrong with its file is a row of `failures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from tasks.core.records import Analysis, FastKind, RankedVideo, ScoredVideo, ScoredWindow, Timeline, VideoRef
from tasks.core.records import Window as W
from tasks.core.settings import Ranking
from tasks.rank import damage, rank_video
from tasks.work.analyses import Analyses
from tests.rankings import rankings_table
from tests.report import STAMP, answer

DEEP = Analysis.ok(answer(score=80))


def ranked(
    scores: Sequence[int], *, fast_kind: FastKind = "salience", analysis: Analysis = DEEP
) -> RankedVideo:
    """A video whose windows of 5 s do not overlap and are all candidates."""
    windows = [ScoredWindow(W(5 * k, 5 * k + 5), score, is_candidate=True) for k, score in enumerate(scores)]
    timeline = Timeline(
        VideoRef("s3://b/a.mp4", "e", 1), "", 5 * len(scores), 1, 28, 28, 5.0 * len(scores), "pyav"
    )
    video = ScoredVideo(timeline, tuple(windows), np.zeros((len(scores), 4), np.float16), fast_kind)
    return rank_video(video, Analyses(dict.fromkeys([w.window for w in windows], analysis)), Ranking())


@pytest.mark.parametrize(("scores", "why"), [([50], "one_window"), ([50, 50, 50], "all_alike")])
def test_a_fast_score_that_says_nothing_has_no_weight_and_the_row_says_why(
    scores: list[int], why: str
) -> None:
    for row in rankings_table([ranked(scores)], STAMP).to_pylist():
        assert (row["score"], row["deep_weight"], row["fast_weight"]) == (80, 1.0, 0.0)
        assert (row["videomae_score"], row["fast_reason"]) == (50, why)


def test_without_a_deep_score_it_is_all_there_is() -> None:
    failed = Analysis.failed("out_of_memory", "No room.")
    (row,) = rankings_table([ranked([50], analysis=failed)], STAMP).to_pylist()
    assert (row["score"], row["deep_weight"], row["fast_weight"]) == (50, None, 1.0)
    assert row["fast_reason"] == "one_window"


@pytest.mark.parametrize(
    "video", [ranked([30], fast_kind="head"), ranked([25, 75])], ids=["of a head", "of two windows"]
)
def test_a_fast_score_that_says_something_counts(video: RankedVideo) -> None:
    rows = rankings_table([video], STAMP).to_pylist()
    assert {row["fast_reason"] for row in rows} == {None}
    share = Decimal("0.4")
    assert [row["score"] for row in rows] == [
        int(Decimal("0.6") * 80 + share * row["videomae_score"]) for row in rows
    ]
    assert {row["fast_weight"] for row in rows} == {0.4}


WHOLE = Timeline(VideoRef("s3://b/a.mp4", "etag", 9), "", 6, 1, 28, 28, 6.0, "pyav")


@pytest.mark.parametrize(
    ("missing", "unused", "reasons"),
    [
        (None, None, []),
        ("Cut off.", None, ["truncated"]),
        (None, "More behind.", ["joined"]),
        ("Cut off.", "More behind.", ["truncated", "joined"]),
    ],
)
def test_what_is_missing_and_what_is_not_used_are_rows_of_their_own(
    missing: str | None, unused: str | None, reasons: list[str]
) -> None:
    rows = list(damage(replace(WHOLE, damage=missing, unused=unused)))
    assert [row.reason for row in rows] == reasons
    assert all(said in "".join(row.detail for row in rows) for said in (missing, unused) if said)


def test_broken_sound_is_a_row_of_its_own() -> None:
    (row,) = damage(replace(WHOLE, sound_damage="3.0 s of the sound (aac) cannot be decoded."))
    assert (row.stage, row.kind, row.reason) == ("speech", "rejected", "sound_unreadable")
    assert row.detail.startswith("3.0 s")
