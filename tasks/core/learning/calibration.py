"""What a score says of the chance that an editor publishes: Platt scaling, and whether it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.learning.metrics import Floats
from tasks.core.learning.videos import Flags

MIN_LABELS = 30
"""Labels without which no chance is told. (Below a thousand, isotonic regression is worse at any number.)"""

STEPS = 50
FOLDS = 5
MAX_BINS, MIN_OF_BIN = 10, 20


@dataclass(frozen=True, slots=True)
class Platt:
    """The chance that goes with a score: `1 / (1 + exp(-(slope * score + offset)))`."""

    slope: float
    offset: float

    def __call__(self, score: Floats) -> Floats:
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * score + self.offset, -35, 35))))


@dataclass(frozen=True, slots=True)
class Bin:
    """Labels with nearly the same chance: its mean, the share that was published, and how many there are."""

    chance: float
    published: float
    labels: int


def platt(score: Floats, published: Flags) -> Platt | None:
    """Logistic regression on one score, by Newton's method, with the targets of Platt 1999: they are never 0
    or 1, so that few labels make nobody sure. None with one verdict only, or where all scores are the same.
    """
    right, wrong = int(published.sum()), int((~published).sum())
    if not right or not wrong or np.ptp(score) == 0:
        return None
    middle, spread = score.mean(), score.std()
    x = np.stack([(score - middle) / spread, np.ones(len(score))], axis=1)
    target = np.where(published, (right + 1) / (right + 2), 1 / (wrong + 2))
    weights = np.array([0.0, np.log((right + 1) / (wrong + 1))])
    for _ in range(STEPS):
        chance = Platt(*weights)(x[:, 0])
        gradient = x.T @ (target - chance)
        step = np.linalg.solve((x * (chance * (1 - chance))[:, None]).T @ x + 1e-9 * np.eye(2), gradient)
        weights += np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    slope = float(weights[0] / spread)
    return Platt(slope, float(weights[1] - slope * middle))


def cross_fitted(score: Floats, published: Flags, etags: Sequence[str]) -> Floats:
    """The chance of each label, told by the labels of other videos; NaN where these tell none.

    `etags` are those of the labels' videos: all labels of a video are in one fold.
    """
    folds = np.array([_fold(etag) for etag in etags], int)
    found = np.full(len(score), np.nan)
    for fold in range(FOLDS):
        left_out = folds == fold
        fitted = platt(score[~left_out], published[~left_out]) if left_out.any() else None
        if fitted:
            found[left_out] = fitted(score[left_out])
    return found


def reliability(chance: Floats, published: Flags) -> list[Bin]:
    """Labels by their chance, in up to ten bins of as many labels each; empty where there are too few."""
    bins = min(MAX_BINS, len(chance) // MIN_OF_BIN)
    if bins < 2:
        return []
    parts = np.array_split(np.argsort(chance, kind="stable"), bins)
    return [Bin(float(chance[part].mean()), float(published[part].mean()), len(part)) for part in parts]


def _fold(etag: str) -> int:
    return int(hashlib.sha256(etag.encode(errors="surrogatepass")).hexdigest()[:8], 16) % FOLDS
