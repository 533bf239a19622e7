"""Chances are what happens that often, by the labels of other videos."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.core.learning.calibration import Platt, cross_fitted, platt, reliability


def labels(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores, verdicts that follow them, and the videos: ten labels each."""
    rng = np.random.default_rng(seed)
    score = rng.normal(50, 10, count)
    published = rng.random(count) < Platt(0.15, -8.5)(score)
    return score, published, [f"etag {n // 10}" for n in range(count)]


def test_of_many_labels_the_curve_is_found() -> None:
    score, published, _ = labels(20_000)
    found = platt(score, published)
    assert found
    assert (found.slope, found.offset) == pytest.approx((0.15, -8.5), rel=0.05)


def test_it_is_the_most_likely_curve_of_its_targets() -> None:
    score = np.array([10.0, 20, 30, 40, 50, 60])
    published = np.array([False, False, True, False, True, True])
    found = platt(score, published)
    assert found
    chance = found(score)
    target = np.where(published, 4 / 5, 1 / 5)
    # At the optimum the residuals are orthogonal to what was fitted on.
    assert (target - chance).sum() == pytest.approx(0, abs=1e-9)
    assert ((target - chance) * score).sum() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("score", "published"), [([1.0, 2], [True, True]), ([1.0, 2], [False, False]), ([3.0, 3], [True, False])]
)
def test_without_two_verdicts_and_two_scores_there_is_none(score: list[float], published: list[bool]) -> None:
    assert platt(np.array(score), np.array(published)) is None


def test_scores_that_tell_all_are_not_made_certain() -> None:
    found = platt(np.arange(40.0), np.arange(40) >= 20)
    assert found
    assert 0.9 < found(np.array([39.0]))[0] < 1


def test_the_chance_of_a_label_does_not_hang_on_its_own_video() -> None:
    score, published, etags = labels(300)
    before = cross_fitted(score, published, etags)
    published[:10] = ~published[:10]
    after = cross_fitted(score, published, etags)
    assert (before[:10] == after[:10]).all()
    assert (before[10:] != after[10:]).any()


def test_bins_hold_as_many_labels_each_and_what_happens_that_often() -> None:
    score, published, etags = labels(4000)
    chance = cross_fitted(score, published, etags)
    found = reliability(chance, published)
    assert len(found) == 10
    assert {each.labels for each in found} == {400}
    assert [each.chance for each in found] == pytest.approx([each.published for each in found], abs=0.08)
    assert len(reliability(chance[:45], published[:45])) == 2
    assert reliability(chance[:39], published[:39]) == []
