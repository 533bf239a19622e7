"""A head fitted on what the judge said: ridge regression within videos, in one pass over the nights.

What differs between videos is mostly their look and the judge's mood. So rows and scores are centred by
video, and folds are whole videos: neighbouring windows are nearly the same, and a random split would let them
give each other away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tasks.core.learning.videos import Floats, ScoredVideoRows

Float32s = npt.NDArray[np.float32]

FOLDS = 5

ALPHAS = 10.0 ** np.arange(1, 6.01, 0.5)
"""Penalties that are tried, on columns of unit variance."""

MAX_WEIGHT = 5.0
"""An audited window counts for the windows it stands for, but no more: a few rows must not decide a head."""

BLOCK = 4096
"""Rows that are multiplied at once."""


@dataclass(slots=True)
class _Sums:
    """What ridge regression needs of the rows of one fold."""

    gram: Floats
    moment: Floats
    square: float = 0.0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """A head's weights, and how it was fitted; `r2` is that of whole videos left out."""

    weight: Float32s
    alpha: float
    r2: float
    rows: int
    videos: int


@dataclass(slots=True)
class Ridge:
    """Takes videos one by one, and keeps only sums of them: any number of windows fits in memory."""

    dimensions: int
    videos: int = 0
    _sums: list[_Sums] = field(default_factory=list)
    _waiting: list[list[tuple[Float32s, Float32s]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        d = self.dimensions
        self._sums = [_Sums(np.zeros((d, d)), np.zeros(d)) for _ in range(FOLDS)]
        self._waiting = [[] for _ in range(FOLDS)]

    def add(self, video: ScoredVideoRows) -> None:
        """Take the judged windows of a video, centred by their weighted means.

        Raises:
            ValueError: it has no embeddings.
        """
        if video.features is None:
            raise ValueError(f"{video.uri} has no embeddings")
        which = video.judged & ~np.isnan(video.probability)
        weight = np.minimum(video.weights()[which], MAX_WEIGHT)
        x, y = video.features.embeddings[which], video.deep[which]
        root = np.sqrt(weight)[:, None].astype(np.float32)
        x = (x - np.average(x, axis=0, weights=weight).astype(np.float32)) * root
        y = (y - np.average(y, weights=weight)) * root[:, 0]
        fold = self.videos % FOLDS
        self.videos += 1
        self._waiting[fold].append((x, y.astype(np.float32)))
        if sum(len(rows) for rows, _ in self._waiting[fold]) >= BLOCK:
            self._multiply(fold)

    def fit(self) -> Fitted:
        """The head with the penalty that predicts whole videos best that were left out."""
        for fold in range(FOLDS):
            self._multiply(fold)
        gram = np.sum([each.gram for each in self._sums], axis=0)
        moment = np.sum([each.moment for each in self._sums], axis=0)
        rows, square = sum(each.rows for each in self._sums), sum(each.square for each in self._sums)
        spread = np.sqrt(np.diag(gram) / max(rows, 1)) + 1e-9
        errors = np.sum([self._errors(fold, gram, moment, spread) for fold in range(FOLDS)], axis=0)
        best = int(np.argmin(errors))
        weight = _solved(gram, moment, spread)(ALPHAS[best])
        r2 = 1 - float(errors[best]) / square if square else 0.0
        return Fitted(weight.astype(np.float32), float(ALPHAS[best]), r2, rows, self.videos)

    def _errors(self, fold: int, gram: Floats, moment: Floats, spread: Floats) -> Floats:
        """The squared error of each penalty on the videos of a fold, fitted on the others."""
        left_out = self._sums[fold]
        solve = _solved(gram - left_out.gram, moment - left_out.moment, spread)
        weights = [solve(alpha) for alpha in ALPHAS]
        return np.array(
            [left_out.square - 2 * w @ left_out.moment + w @ left_out.gram @ w for w in weights], float
        )

    def _multiply(self, fold: int) -> None:
        if not self._waiting[fold]:
            return
        x = np.concatenate([rows for rows, _ in self._waiting[fold]])
        y = np.concatenate([scores for _, scores in self._waiting[fold]])
        sums = self._sums[fold]
        sums.gram += x.T @ x
        sums.moment += x.T @ y
        sums.square += float(y @ y)
        sums.rows += len(y)
        self._waiting[fold].clear()


def _solved(gram: Floats, moment: Floats, spread: Floats) -> Callable[[float], Floats]:
    """The weights for a penalty: one eigendecomposition for all of them, on columns of unit variance."""
    values, vectors = np.linalg.eigh(gram / np.outer(spread, spread))
    turned = vectors.T @ (moment / spread)
    return lambda alpha: np.asarray(vectors @ (turned / (np.maximum(values, 0) + alpha)) / spread)
