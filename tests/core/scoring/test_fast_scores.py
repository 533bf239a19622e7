"""The fast score: salience within the video, or a fitted head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.core.records import (
    FastKind,
    ScoredVideo,
    ScoredWindow,
    Timeline,
    VideoRef,
    Window,
    WindowFeatures,
)
from tasks.core.scoring.fast_scores import (
    cosine,
    fast_reason,
    head_scores,
    percentiles,
    salience,
    standardised,
)


def features(embeddings: list[list[float]], change: list[float] | None = None) -> WindowFeatures:
    rows = np.array(embeddings, dtype=np.float32)
    return WindowFeatures(rows, np.array(change or [0.0] * len(rows), dtype=np.float32))


def test_the_window_unlike_its_video_stands_out() -> None:
    scores = salience(features([[1, 0], [1, 0.1], [0, 1], [1, 0]]))
    assert scores.index(max(scores)) == 2


def test_of_alike_windows_the_one_that_changes_inside_stands_out() -> None:
    scores = salience(features([[1, 0]] * 4, change=[0.1, 0.1, 0.5, 0.1]))
    assert scores.index(max(scores)) == 2


def test_windows_that_do_not_differ_share_the_middle() -> None:
    assert salience(features([[1, 2]] * 5)) == [50] * 5


def test_a_single_window_is_neither_high_nor_low() -> None:
    assert salience(features([[3, 4]], change=[0.2])) == [50]


def test_a_black_video_has_scores_too() -> None:
    assert salience(features([[0, 0]] * 3)) == [50] * 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1], [50]),
        ([1, 2], [25, 75]),
        ([2, 1], [75, 25]),
        ([5, 5, 9], [33, 33, 83]),
        (range(4), [12, 37, 62, 87]),
    ],
)
def test_percentiles_are_mid_ranks(values: list[float], expected: list[int]) -> None:
    assert percentiles(np.array(values, dtype=np.float32)) == expected


@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e3, 1e3, width=32)))
def test_percentiles_keep_the_order_and_stay_within_0_and_100(values: np.ndarray) -> None:
    ranks = percentiles(values)
    assert all(0 <= rank <= 100 for rank in ranks)
    for i, j in zip(range(len(values)), range(1, len(values)), strict=False):
        assert (values[i] < values[j]) <= (ranks[i] <= ranks[j])
        assert (values[i] == values[j]) <= (ranks[i] == ranks[j])


def test_rounding_noise_is_not_a_difference() -> None:
    noisy = np.float32(1) + np.array([0, 1e-7, 0], dtype=np.float32)
    assert standardised(noisy).tolist() == [0, 0, 0]


def test_cosine_of_a_zero_vector_is_zero() -> None:
    assert cosine(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)).tolist() == [0]


@pytest.mark.parametrize(
    ("kind", "bias", "expected"),
    [("ridge", 10.0, [12, 10, 100, 0]), ("logistic", 0.0, [88, 50, 100, 0])],
)
def test_a_head_gives_scores_within_0_and_100(kind: str, bias: float, expected: list[int]) -> None:
    rows = features([[1, 1], [0, 0], [99, 99], [-99, -99]])
    weight = np.array([1, 1], dtype=np.float32)
    assert head_scores(rows, weight=weight, bias=bias, kind=kind) == expected


def test_a_head_rounds_half_up() -> None:
    weight = np.array([1.0], dtype=np.float32)
    assert head_scores(features([[70.5], [71.5]]), weight=weight, bias=0, kind="ridge") == [71, 72]


@pytest.mark.parametrize(
    ("kind", "why"), [("salience", "one_window"), ("head_percentile", "one_window"), ("head", None)]
)
def test_a_percentile_of_a_single_window_says_nothing(kind: FastKind, why: str | None) -> None:
    timeline = Timeline(VideoRef("s3://b/a.mp4", "e", 1), "", 5, 1, 28, 28, 5.0, "pyav")
    windows = (ScoredWindow(Window(0, 5), 50),)
    assert fast_reason(ScoredVideo(timeline, windows, np.zeros((1, 4), np.float16), kind)) == why
