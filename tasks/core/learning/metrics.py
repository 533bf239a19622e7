"""How well scores agree with what is true, in NumPy. None where there is no answer, never 0 in its place.

Tied scores are tied: no metric makes up an order for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 2000
"""Bootstrap samples of an interval."""

MIN_DRAWS = 200
"""Those of an interval over so many labels that more would take seconds."""

DRAWN_AT_ONCE = 1_000_000
"""Videos or labels that are drawn at once, of all samples together: what that takes of memory is 24 MB."""

BLOCK = 256
"""Rows of a square of pairs that are in memory at once."""

MIN_VIDEOS = 20
"""Videos below which there is no interval: a bootstrap over fewer is too narrow."""


def ranks(values: npt.ArrayLike) -> Floats:
    """Ranks from 1, ties sharing their mean rank.

    >>> ranks([7, 3, 7]).tolist()
    [2.5, 1.0, 2.5]
    """
    values = np.asarray(values, float)
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, "left")
    return np.asarray((below + np.searchsorted(ordered, values, "right") + 1) / 2)


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Spearman's rank correlation; None below three pairs, or where one side is constant."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def kendall(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Kendall's tau-b; None below three pairs, or where one side is constant."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    both = of_a = of_b = 0.0
    for rows in _blocks(len(a)):
        x, y = np.sign(a[rows, None] - a), np.sign(b[rows, None] - b)
        both, of_a, of_b = both + (x * y).sum(), of_a + (x**2).sum(), of_b + (y**2).sum()
    return float(both / np.sqrt(of_a * of_b))


def ndcg(gain: npt.ArrayLike, score: npt.ArrayLike, *, k: int) -> float | None:
    """Normalised discounted cumulative gain of the first `k` (Jarvelin & Kekalainen 2002), gains not below 0.

    Windows of one score share their mean gain. None where there is no gain at all.
    """
    gain, score = np.asarray(gain, float), np.asarray(score, float)
    k = min(k, len(gain))
    discount = np.zeros(len(gain))
    discount[:k] = 1 / np.log2(np.arange(2, k + 2))
    ideal = float((np.sort(gain)[::-1] * discount).sum())
    if ideal == 0:
        return None
    _, tied = np.unique(-score, return_inverse=True)
    shared = np.bincount(tied, gain) / np.bincount(tied)
    return float((shared[np.sort(tied)] * discount).sum() / ideal)


def roc_auc(is_true: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Area under the ROC curve: how often a true one scores higher than another. None with one class."""
    return _one(_auc, is_true, score)


def average_precision(is_true: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Precision averaged over the thresholds at which recall rises; None where nothing is true."""
    return _one(_precision, is_true, score)


def _auc(true: Floats, others: Floats) -> Floats:
    """Of how many are true and how many are not at each score, the highest first; NaN with one class."""
    above = np.cumsum(true, axis=-1) - true / 2
    pairs = true.sum(-1) * others.sum(-1)
    return np.asarray((others * above).sum(-1) / np.where(pairs, pairs, np.nan))


def _precision(true: Floats, others: Floats) -> Floats:
    """Likewise; NaN where nothing is true."""
    found, seen, every = np.cumsum(true, -1), np.cumsum(true + others, -1), true.sum(-1, keepdims=True)
    share = true / np.where(every, every, np.nan)
    return np.asarray((share * found / np.where(seen, seen, 1)).sum(-1))


Counted = Callable[[Floats, Floats], Floats]


def _at_each_score(
    is_true: npt.ArrayLike, score: npt.ArrayLike
) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """Which of the different scores each has, the highest first; 1 where it is true, and where it is not."""
    truth = np.asarray(is_true, bool)
    _, tied = np.unique(-np.asarray(score, float), return_inverse=True)
    return tied, truth.astype(float), (~truth).astype(float)


def _one(measure: Counted, is_true: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    tied, true, others = _at_each_score(is_true, score)
    counts = (np.asarray(np.bincount(tied, each, minlength=1), float) for each in (true, others))
    found = float(measure(*counts))
    return None if np.isnan(found) else found


def auc_and_precision(
    is_true: npt.ArrayLike, score: npt.ArrayLike, videos: Sequence[str]
) -> tuple[Estimate, Estimate]:
    """`roc_auc` and `average_precision` with intervals: whole videos are drawn, by their names in `videos`.

    Of many labels they are drawn less often, but `MIN_DRAWS` times.
    """
    values = roc_auc(is_true, score), average_precision(is_true, score)
    names, video = np.unique(np.asarray(videos, str), return_inverse=True)
    if None in values or len(names) < MIN_VIDEOS:
        auc, precision = (Estimate(value, videos=len(names)) for value in values)
        return auc, precision
    tied, true, others = _at_each_score(is_true, score)
    order = np.argsort(tied, kind="stable")
    begins = np.flatnonzero(np.diff(tied[order], prepend=-1))
    rng, found, at_once = np.random.default_rng(0), [], max(1, DRAWN_AT_ONCE // len(video))
    draws = min(DRAWS, max(MIN_DRAWS, at_once))
    for first in range(0, draws, at_once):
        even, some = np.full(len(names), 1 / len(names)), min(at_once, draws - first)
        often = rng.multinomial(len(names), even, some)[:, video[order]]
        counts = [np.add.reduceat(often * each[order], begins, axis=1) for each in (true, others)]
        found.append([_auc(*counts), _precision(*counts)])
    ends = np.nanquantile(np.concatenate(found, axis=1), (0.025, 0.975), axis=1).T
    auc, precision = (
        Estimate(value, float(low), float(high), len(names))
        for value, (low, high) in zip(values, ends, strict=True)
    )
    return auc, precision


def concordance(
    score: npt.ArrayLike, truth: npt.ArrayLike, audited: npt.NDArray[np.bool_], *, others: int
) -> float | None:
    """Share of pairs that a score puts in their true order, half for ties; None without a pair that differs.

    `audited` and `others` as in `pairs_in_order`.
    """
    in_order, pairs = pairs_in_order(score, truth, audited, others=others)
    return in_order / pairs if pairs else None


def pairs_in_order(
    score: npt.ArrayLike, truth: npt.ArrayLike, audited: npt.NDArray[np.bool_], *, others: int
) -> tuple[float, float]:
    """How many pairs that differ a score puts in their true order, half for ties; and how many there are.

    The `audited` windows were drawn from `others` without replacement, and stand for all of those. A pair
    counts 1 / (how likely it was that both are seen), so that both totals are unbiased (Horvitz & Thompson
    1952): of k drawn from m, m / k with a window that is always seen, m (m - 1) / (k (k - 1)) with another
    drawn one. A single drawn one tells nothing of such pairs: they are not counted.
    """
    score, truth = np.asarray(score, float), np.asarray(truth, float)
    drawn = int(audited.sum())
    stands_for = np.ones(3)
    if drawn:
        stands_for[1] = others / drawn
        stands_for[2] = stands_for[1] * (others - 1) / max(drawn - 1, 1)
    in_order = pairs = 0.0
    for rows in _blocks(len(truth)):
        differs = np.sign(truth[rows, None] - truth)
        agrees = differs * np.sign(score[rows, None] - score)
        counts = stands_for[audited[rows, None].astype(int) + audited] * (differs != 0)
        pairs += float(counts.sum()) / 2  # each pair is met from both sides
        in_order += float((counts * (agrees + 1)).sum()) / 4
    return in_order, pairs


def _blocks(count: int) -> Iterator[slice]:
    """Rows of a square of so many, a few at a time: of a video with thousands of windows as well."""
    return (slice(first, first + BLOCK) for first in range(0, count, BLOCK))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value over `videos`, and its interval; `undefined` videos had none, and are not in it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    videos: int = 0
    undefined: int = 0


def mean_of(values: Sequence[float | None], *, quantiles: tuple[float, float] = (0.025, 0.975)) -> Estimate:
    """The mean over videos; None is undefined."""
    known = np.array([value is not None for value in values], bool)
    given = np.array([0.0 if value is None else value for value in values], float)
    return ratio_of(given, known.astype(float), quantiles=quantiles)


def ratio_of(
    above: npt.ArrayLike, below: npt.ArrayLike, *, quantiles: tuple[float, float] = (0.025, 0.975)
) -> Estimate:
    """The ratio of two totals over videos, with an interval by cluster bootstrap: whole videos are drawn.

    A video with nothing `below` is undefined. The seed is fixed: the same tables give the same interval.
    """
    above, below = np.asarray(above, float), np.asarray(below, float)
    defined = below > 0
    above, below = above[defined], below[defined]
    videos, undefined = len(below), int((~defined).sum())
    if not videos:
        return Estimate(undefined=undefined)
    value = float(above.sum() / below.sum())
    if videos < MIN_VIDEOS:
        return Estimate(value, videos=videos, undefined=undefined)
    rng, found, at_once = np.random.default_rng(0), np.empty(DRAWS), max(1, DRAWN_AT_ONCE // videos)
    for first in range(0, DRAWS, at_once):
        drawn = rng.integers(0, videos, (min(at_once, DRAWS - first), videos))
        found[first : first + at_once] = above[drawn].sum(1) / below[drawn].sum(1)
    low, high = np.quantile(found, quantiles)
    return Estimate(value, float(low), float(high), videos, undefined)
