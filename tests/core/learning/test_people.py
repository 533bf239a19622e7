"""Scores are measured by what people say: each score that agrees with them is above one that does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.core.learning.measured import Measured
from tasks.core.learning.people import Verdicts, by_people, reliability_of
from tasks.core.learning.videos import ScoredVideoRows
from tests.core.learning.test_gate import video

VIDEOS = 40


def told(rng: np.random.Generator) -> tuple[list[ScoredVideoRows], dict[str, Verdicts]]:
    """Videos of which people published and marked what the judge finds good, and watched it."""
    videos, verdicts = [], {}
    for number in range(VIDEOS):
        rows = replace(video(rng, audits=2)[0], uri=f"s3://b/{number}.mp4", etag=f"etag {number}")
        places = np.flatnonzero(rows.is_candidate)[::3]
        published = rng.random(len(places)) < 1 / (1 + np.exp(-(rows.deep[places] - 55) / 4))
        best = int(np.nanargmax(rows.deep))
        verdicts[rows.etag] = Verdicts(
            places,
            published,
            np.where(published, np.exp(rows.deep[places] / 10), np.nan),
            moments=[(float(rows.start[best]), float(rows.end[best]))],
            curves={"curve": np.nan_to_num(rows.deep, nan=50) + rng.normal(0, 2, len(rows.deep))},
        )
        videos.append(rows)
    return videos, verdicts


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Measured]:
    videos, verdicts = told(np.random.default_rng(4))
    return {(each.metric, each.score): each for each in by_people(videos, verdicts)}


@pytest.mark.parametrize(
    ("metric", "least"),
    [
        ("auc_of_verdicts", 0.75),
        ("ap_of_verdicts", 0.6),
        ("precision_at_100", 0.8),
        ("map_of_moments", 1.0),
        ("hit_at_1", 1.0),
        ("middle_inside_at_1", 1.0),
        ("spearman_with_curve", 0.8),
        ("kendall_with_curve", 0.6),
    ],
)
def test_what_agrees_with_people_is_above_what_does_not(
    found: dict[tuple[str, str], Measured], metric: str, least: float
) -> None:
    deep, chance = (found[metric, score].estimate.value for score in ("deep", "random"))
    assert deep is not None
    assert deep >= least
    assert chance is None or deep > chance + 0.1


def test_chances_from_other_videos_are_nearer_to_what_happened_than_the_base_rate(
    found: dict[tuple[str, str], Measured],
) -> None:
    deep, chance = (found["brier_of_verdicts", score].estimate for score in ("deep", "random"))
    assert deep.value is not None
    assert chance.value is not None
    assert deep.high is not None
    assert deep.high < chance.value < 0.27
    assert deep.videos == VIDEOS


def test_how_many_of_the_first_have_a_label_is_said(found: dict[tuple[str, str], Measured]) -> None:
    first = found["precision_at_100", "deep"]
    assert first.note == f"{first.rows} of the first 100 have a label"
    assert 10 < first.rows < 60


@pytest.mark.parametrize("metric", ["map_of_moments", "spearman_with_curve"])
def test_a_score_that_few_windows_have_says_so(found: dict[tuple[str, str], Measured], metric: str) -> None:
    notes = {score: found[metric, score].note for score in ("position", "deep")}
    assert notes == {"position": "", "deep": "only windows that have this score"}


def test_few_labels_tell_no_chance() -> None:
    videos, verdicts = told(np.random.default_rng(5))
    some = {key: verdicts[key] for key in list(verdicts)[:2]}
    (brier,) = [
        each for each in by_people(videos, some) if (each.metric, each.score) == ("brier_of_verdicts", "fast")
    ]
    assert (brier.estimate.value, brier.note) == (None, "20 labels, 30 are needed")
    assert reliability_of(videos, some) == []
    assert len(reliability_of(videos, verdicts)) == 10


def test_where_nobody_said_anything_there_is_nothing() -> None:
    videos, _ = told(np.random.default_rng(6))
    assert list(by_people(videos, {})) == []


def test_windows_that_overlap_too_much_do_not_count_against_a_score() -> None:
    """Only windows of the packing are looked at: others would come before them, and be wrong."""
    (rows, *_), _ = told(np.random.default_rng(7))
    first = np.nanargmax(rows.deep)
    packed = replace(rows, in_packing=rows.is_candidate & (np.arange(len(rows.deep)) != first))
    best = int(np.nanargmax(np.where(packed.in_packing, rows.deep, np.nan)))
    moment = (float(rows.start[best]), float(rows.end[best]))
    none = np.empty(0, np.int64)
    of_video = Verdicts(none, none.astype(bool), none.astype(float), moments=[moment])
    (score,) = [
        each
        for each in by_people([packed], {rows.etag: of_video})
        if (each.metric, each.score) == ("map_of_moments", "deep")
    ]
    assert score.estimate.value == 1
