"""How well ranked windows find the moments that people have marked in a video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.core.learning.metrics import Floats

THRESHOLDS = np.arange(0.5, 0.96, 0.05)
"""Temporal intersection over union from which a window has found a moment: the mean of all ten is the mAP."""

Span = tuple[float, float]


def overlaps(windows: Sequence[Span], moments: Sequence[Span]) -> Floats:
    """Temporal intersection over union of each window with each moment."""
    a, b = np.asarray(windows, float).reshape(-1, 1, 2), np.asarray(moments, float).reshape(1, -1, 2)
    common = np.maximum(0, np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    return np.asarray(common / (a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0] - common))


def mean_average_precision(windows: Sequence[Span], moments: Sequence[Span]) -> float | None:
    """The average precision of windows in their order, as the mean over `THRESHOLDS` (Heilbron et al. 2015).

    Each window takes the moment that it overlaps most of those that are not found yet: a second one of the
    same moment is wrong. None where nothing is marked; 0 where there is no window.
    """
    if not len(moments):
        return None
    iou, found = overlaps(windows, moments) + 1e-9, []
    near = np.flatnonzero((iou >= THRESHOLDS[0]).any(axis=1))  # all others are wrong
    for threshold in THRESHOLDS:
        left, right, precisions = iou[near], 0, 0.0
        for place, of_window in zip(near + 1, left, strict=True):
            best = int(np.argmax(of_window))
            if of_window[best] >= threshold:
                right += 1
                precisions += right / place
                left[:, best] = -1
        found.append(precisions / len(moments))
    return float(np.mean(found))


def is_found(window: Span, moments: Sequence[Span]) -> bool:
    """Whether a window and a moment share at least half of both together."""
    return bool((overlaps([window], moments) >= THRESHOLDS[0]).any())


def is_inside(window: Span, moments: Sequence[Span]) -> bool:
    """Whether the middle of a window lies in a moment: what a window can do that is far longer than it."""
    middle = sum(window) / 2
    return any(start <= middle < end for start, end in moments)


def precision_at(
    k: int, score: Floats, is_labelled: np.typing.NDArray[np.bool_], is_right: np.typing.NDArray[np.bool_]
) -> tuple[float | None, float]:
    """Of the `k` windows with the highest scores the share that is right, among those that have a label; and
    how many of the `k` have one.

    Windows of one score share the places that are left. None without a label: nobody knows, it is not wrong.
    """
    k = min(k, len(score))
    if not k:
        return None, 0.0
    bar = np.partition(score, len(score) - k)[len(score) - k]
    above, tied = score > bar, score == bar
    weight = above + tied * (k - above.sum()) / tied.sum()
    labelled = float(weight[is_labelled].sum())
    return (float(weight[is_labelled & is_right].sum()) / labelled if labelled else None), labelled
