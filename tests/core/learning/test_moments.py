"""Moments that people have marked are found, or not, as the definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.core.learning.moments import is_found, is_inside, mean_average_precision, precision_at

MOMENTS = [(0.0, 10.0), (20.0, 30.0)]


@pytest.mark.parametrize(
    ("windows", "value"),
    [
        ([(0, 10), (20, 30)], 1.0),
        ([(40, 50), (0, 10), (20, 30)], (1 / 2 + 2 / 3) / 2),
        ([(0, 10), (0, 10), (20, 30)], (1 + 2 / 3) / 2),
        ([(0, 10), (0.5, 10)], 1 / 2),
        ([], 0.0),
        ([(40, 50)], 0.0),
        ([(0, 8)], 7 / 10 / 2),  # an overlap of 0.8 is enough for seven of ten thresholds
        ([(0, 4.9)], 0.0),
    ],
)
def test_map_counts_each_moment_once_and_by_how_well_it_is_hit(
    windows: list[tuple[float, float]], value: float
) -> None:
    assert mean_average_precision(windows, MOMENTS) == pytest.approx(value)


def test_of_two_moments_a_window_takes_the_one_that_it_overlaps_most() -> None:
    near = [(0.0, 10.0), (1.0, 11.0)]
    assert mean_average_precision([(1, 11), (0, 10)], near) == pytest.approx(1)


def test_where_nothing_is_marked_nothing_is_known() -> None:
    assert mean_average_precision([(0, 1)], []) is None


def test_a_window_that_is_far_longer_may_have_its_middle_in_a_moment() -> None:
    assert is_found((2, 10), MOMENTS)
    assert not is_found((0, 59), MOMENTS)
    assert is_inside((0, 50), MOMENTS)
    assert not is_inside((0, 60), MOMENTS)


def test_precision_counts_labels_alone_and_ties_share_what_is_left() -> None:
    score = np.array([9, 7, 7, 7, 1], float)
    labelled, right = np.array([1, 1, 0, 1, 1], bool), np.array([1, 1, 0, 0, 1], bool)
    value, share = precision_at(2, score, labelled, right)
    of_orders = [{0, tied} for tied in (1, 2, 3)]
    known = [[right[n] for n in top if labelled[n]] for top in of_orders]
    assert share == pytest.approx(np.mean([len(each) for each in known]))
    assert value == pytest.approx(sum(map(sum, known)) / sum(map(len, known)))
    assert precision_at(5, score, labelled, right)[0] == pytest.approx(3 / 4)
    assert precision_at(1, score, ~labelled, right) == (None, 0.0)
    assert precision_at(3, np.empty(0), labelled[:0], right[:0]) == (None, 0.0)
