"""Every metric is what its definition says, ties included, and None where there is no answer."""

from __future__ import annotations

import tracemalloc
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.learning.metrics import (
    auc_and_precision,
    average_precision,
    concordance,
    kendall,
    mean_of,
    ndcg,
    pairs_in_order,
    ratio_of,
    roc_auc,
    spearman,
)

SCORE = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
OTHER = [2, 7, 1, 8, 2, 8, 1, 8, 2, 8]
TRUE = [0, 0, 1, 0, 1, 1, 0, 0, 1, 0]
SPEARMAN, KENDALL = 0.13471506281091267, 0.13041013273932525
NDCG_4, NDCG_10 = 0.7275118290496237, 0.9102201531079528
AUC, AP = 0.8750000000000001, 0.825


def test_they_are_those_of_scipy_and_scikit_learn() -> None:
    """scipy 1.17.1 and scikit-learn 1.9.1 on the same numbers."""
    assert spearman(SCORE, OTHER) == pytest.approx(SPEARMAN, abs=1e-12)
    assert kendall(SCORE, OTHER) == pytest.approx(KENDALL, abs=1e-12)
    assert ndcg(OTHER, SCORE, k=4) == pytest.approx(NDCG_4, abs=1e-12)
    assert ndcg(OTHER, SCORE, k=10) == pytest.approx(NDCG_10, abs=1e-12)
    assert roc_auc(TRUE, SCORE) == pytest.approx(AUC, abs=1e-12)
    assert average_precision(TRUE, SCORE) == pytest.approx(AP, abs=1e-12)


some = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=7)


@given(some)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, int, bool]]) -> None:
    pairs = [(a, b) for a, _, x in rows for b, _, y in rows if x and not y]
    expected = np.mean([(a > b) + (a == b) / 2 for a, b in pairs]) if pairs else None
    assert roc_auc([x for *_, x in rows], [a for a, *_ in rows]) == (
        None if expected is None else pytest.approx(expected)
    )


@given(some)
def test_tied_scores_have_the_mean_ndcg_of_all_their_orders(rows: list[tuple[int, int, bool]]) -> None:
    rows = rows[:5]
    score, gain = [a for a, *_ in rows], [b for _, b, _ in rows]
    found = ndcg(gain, score, k=3)
    if not any(gain):
        assert found is None
        return
    discount = [1 / np.log2(place + 2) if place < 3 else 0 for place in range(len(rows))]
    orders = [
        order
        for order in permutations(range(len(rows)))
        if all(score[a] >= score[b] for a, b in pairwise(order))
    ]
    dcg = np.mean([sum(gain[i] * d for i, d in zip(order, discount, strict=True)) for order in orders])
    ideal = sum(g * d for g, d in zip(sorted(gain, reverse=True), discount, strict=True))
    assert found == pytest.approx(dcg / ideal)


@given(some, st.integers(0, 9))
def test_concordance_counts_pairs_for_all_they_stand_for(
    rows: list[tuple[int, int, bool]], left_out: int
) -> None:
    score, truth = [a for a, *_ in rows], [b for _, b, _ in rows]
    audited = np.array([x for *_, x in rows])
    k, m = int(audited.sum()), int(audited.sum()) + left_out
    weight = {0: 1.0, 1: m / k if k else 0, 2: m * (m - 1) / (k * (k - 1)) if k > 1 else 0}
    total = agreed = 0.0
    for i, j in combinations(range(len(rows)), 2):
        if truth[i] != truth[j]:
            counts = weight[int(audited[i]) + int(audited[j])]
            total += counts
            same = (score[i] - score[j]) * (truth[i] - truth[j])
            agreed += counts * (1 if same > 0 else 0 if same < 0 else 0.5)
    found = concordance(score, truth, audited, others=m)
    assert found == (pytest.approx(agreed / total) if total else None)


@pytest.mark.parametrize("drawn", [2, 3, 5])
def test_over_all_draws_of_the_audit_concordance_is_that_of_all_windows(drawn: int) -> None:
    """Four candidates, and each way to draw some of six others: totals are unbiased, and without ties of the
    truth, so is the share."""
    always, others = range(4), range(4, 10)
    for truth, share_too in (([*SCORE[:5], *OTHER[:5]], False), ([5, 0, 9, 2, 7, 1, 8, 3, 6, 4], True)):
        whole = pairs_in_order(SCORE, truth, np.zeros(10, bool), others=0)
        found, shares = [], []
        for draw in combinations(others, drawn):
            seen = [*always, *draw]
            audited = np.array([window in draw for window in seen])
            of_draw = np.take(SCORE, seen), np.take(truth, seen), audited
            found.append(pairs_in_order(*of_draw, others=len(others)))
            shares.append(concordance(*of_draw, others=len(others)))
        assert np.mean(found, axis=0) == pytest.approx(whole)
        if share_too:
            assert np.mean(np.array(shares, float)) == pytest.approx(whole[0] / whole[1])


def test_a_video_of_many_windows_costs_no_square_of_memory() -> None:
    rng = np.random.default_rng(0)
    score, truth = rng.random(3000), rng.random(3000)
    tracemalloc.start()
    found = concordance(score, truth, np.zeros(3000, bool), others=0)
    tau = kendall(score, truth)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # a square of numbers takes 72 MB
    assert found is not None
    assert tau == pytest.approx(2 * found - 1)


def test_without_an_answer_there_is_none() -> None:
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert kendall([1, 2, 3], [5, 5, 5]) is None
    assert roc_auc([1, 1], [1, 2]) is None
    assert average_precision([0, 0], [1, 2]) is None
    assert ndcg([0, 0], [1, 2], k=2) is None
    assert mean_of([None, None]).value is None


def test_a_video_without_an_answer_is_counted_and_not_a_zero() -> None:
    found = mean_of([0.5, None, 0.7])
    assert (found.value, found.videos, found.undefined) == (pytest.approx(0.6), 2, 1)
    assert (found.low, found.high) == (None, None), "three videos are too few for an interval"


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """A ratio of totals over 40 videos of very different sizes, drawn 200 times."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        size = rng.integers(1, 60, 40)
        found = ratio_of(rng.binomial(size, 0.3), size)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.3 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_intervals_over_labels_know_that_those_of_a_video_are_alike() -> None:
    """Five labels of each of 30 videos, whose scores have an offset by video; the truth is that of many."""
    rng = np.random.default_rng(3)

    def labels(videos: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        liked = rng.normal(0, 1, videos)[:, None] + rng.normal(0, 1, (videos, 5))
        score = rng.normal(0, 1, videos)[:, None] + 0.7 * liked
        return (liked > 0).ravel(), score.ravel(), [str(n // 5) for n in range(5 * videos)]

    is_true, score, _ = labels(20_000)
    truth, held = (roc_auc(is_true, score) or 0, average_precision(is_true, score) or 0), [0, 0]
    for _ in range(30):
        for n, found in enumerate(auc_and_precision(*labels(30))):
            assert found.low is not None
            assert found.high is not None
            held[n] += found.low <= truth[n] <= found.high
    assert min(held) >= 25
    few, _ = auc_and_precision([1, 0, 1], [3, 1, 2], ["a", "a", "b"])
    assert (few.value, few.low, few.videos) == (1.0, None, 2)
    assert [each.value for each in auc_and_precision([], [], [])] == [None, None]


def test_the_same_values_have_the_same_interval() -> None:
    values = np.random.default_rng(2).random(50).tolist()
    assert mean_of(values) == mean_of(values)
