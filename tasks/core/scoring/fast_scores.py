"""The fast score: from what VideoMAE sees in each window of one video to a number 0-100."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.records import ScoredVideo, WindowFeatures

HEAD_KINDS = ("ridge", "logistic", "ridge-centred")

Floats = npt.NDArray[np.float32]


def salience(features: WindowFeatures) -> list[int]:
    """How much each window stands out of its own video, as a percentile 0-100 within the video.

    Two measures are standardised over the video and added: the cosine distance of the window's
    embedding from the video's mean embedding, and the change inside the window. A video of one
    window, or of windows that are all alike, scores 50: there is nothing that could stand out (see
    `fast_reason`).
    """
    distance = 1 - cosine(features.embeddings, features.embeddings.mean(axis=0, keepdims=True))
    return percentiles(standardised(distance) + standardised(features.change))


def fast_reason(scored: ScoredVideo) -> str | None:
    """Why the fast scores of a video say nothing, None if they do: salience compares windows of one video.

    `one_window` has nothing to be compared with, `all_alike` is a video that stands still.
    """
    if scored.fast_kind == "head" or len({item.score for item in scored.windows}) > 1:
        return None
    return "one_window" if len(scored.windows) == 1 else "all_alike"


def percentiles(values: Floats) -> list[int]:
    """Mid-rank percentiles (Hazen 1914): `100 * (rank - 0.5) / n`, ties sharing their mean rank.

    >>> percentiles(np.array([3.0, 1.0, 1.0, 9.0], dtype=np.float32))
    [62, 25, 25, 87]
    """
    return [int(percentile) for percentile in mid_ranks(values, among=values)]


def mid_ranks(values: npt.ArrayLike, *, among: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Percentiles before rounding: the share of `among` that is lower, and half of what is equal, times 100.

    >>> mid_ranks([9, 1], among=[3, 1, 1, 9]).tolist()
    [87.5, 25.0]
    """
    ordered = np.sort(np.asarray(among))
    below = np.searchsorted(ordered, values, side="left")
    upto = np.searchsorted(ordered, values, side="right")
    return np.asarray(50 * (below + upto) / max(len(ordered), 1))


def head_scores(features: WindowFeatures, *, weight: Floats, bias: float, kind: str) -> list[int]:
    """Scores of a fitted head: `w . x + b` for `ridge`, `100 * sigmoid(w . x + b)` for `logistic`.

    `weight` has the embedding's length. The result is rounded half up and kept within 0-100. For
    `ridge-centred` the features are all windows of one video, and the score is the percentile of `w . x`
    among them: it has the spread that salience has, whatever that of the scores it was fitted on.
    """
    if kind == "ridge-centred":
        return percentiles((features.embeddings - features.embeddings.mean(axis=0)) @ weight)
    raw = features.embeddings @ weight + bias
    if kind == "logistic":
        raw = 50 * (1 + np.tanh(raw / 2))  # 100 * sigmoid, without overflow
    return [int(score) for score in np.clip(np.floor(raw + 0.5), 0, 100)]


def cosine(a: Floats, b: Floats) -> Floats:
    """Cosine similarity along the last axis; 0 where a vector is zero."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    similarity: Floats = (a * b).sum(axis=-1) / np.maximum(norms, np.finfo(np.float32).tiny)
    return similarity


def standardised(values: Floats) -> Floats:
    """Zero mean, unit variance; all zeros where the values differ by no more than rounding."""
    centred = values - values.mean()
    spread = float(centred.std())
    rounding = 8 * np.finfo(np.float32).eps * max(1.0, float(np.abs(values).max()))
    return centred / spread if spread > rounding else np.zeros_like(values)
