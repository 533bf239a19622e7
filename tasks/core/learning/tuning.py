"""What labels teach VideoLLaMA3: what a segment should score, what of an answer counts, what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from tasks.core.amounts import number_of
from tasks.core.learning.metrics import DRAWS, MIN_VIDEOS, Estimate, ranks, roc_auc
from tasks.core.records import ScoredWindow, VideoRef

Floats = npt.NDArray[np.float64]

MIN_LABELS, MIN_LABELLED_VIDEOS, MIN_OF_EACH = 200, 30, 20
"""Labels of windows, their videos, and labels of each verdict, without which nothing is tuned."""

REJECTED, PUBLISHED = 20, 70
"""What a segment should score that was rejected, or published without its views being known."""

SHRINKING = 2
"""Labels of a video that its own level of views is worth as much as that of all videos."""

MAX_MOVE = 15
"""Points by which a score may move and keep the texts behind it, which would argue for the old one."""

TEXT_WEIGHT = 0.1
"""What a token of a text counts; one of the overall score counts 1, of the two others nothing."""

SPREAD = 8
"""Half of the time the wanted score is taught, else one near it, by the tosses of so many coins: up to 4
points away. An expected score has to stay a mean of several."""


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """A window of a video, and what editors decided about it."""

    video: VideoRef
    item: ScoredWindow
    is_published: bool
    views: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A held-out window: the verdict of editors, and the expected scores before and after tuning."""

    uri: str
    is_published: bool
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class TuningExam:
    """The AUC of verdicts on held-out videos before and after; the difference with its lower 99 % bound."""

    before: float | None
    after: float | None
    gain: Estimate
    windows: int

    @property
    def verdict(self) -> str:
        """Why nobody can say that it is better now; empty if it is."""
        if self.gain.value is None:
            return f"{number_of(self.windows, 'label')} of held-out videos, and not of both verdicts"
        if self.gain.low is None:
            examined = number_of(self.gain.videos, "held-out video")
            return f"{examined} with labels, {MIN_VIDEOS} are needed to be sure"
        return "" if self.gain.low > 0 else f"the difference is at least {self.gain.low:+.3f} (99 %)"


def missing(labels: Sequence[LabelledWindow]) -> list[str]:
    """What there is too little of to tune on, a sentence each; empty if there is enough."""
    published = sum(label.is_published for label in labels)
    videos = len({label.video.uri for label in labels})
    counted = (
        (len(labels), MIN_LABELS, "label of a window", "labels of windows"),
        (videos, MIN_LABELLED_VIDEOS, "video with labels", "videos with labels"),
        (published, MIN_OF_EACH, "published", "published"),
        (len(labels) - published, MIN_OF_EACH, "rejected", "rejected"),
    )
    return [
        f"{number_of(there, *words)}, {least} are needed" for there, least, *words in counted if there < least
    ]


def wanted_scores(labels: Sequence[LabelledWindow]) -> list[int]:
    """What each segment should score: 20 if rejected; if published 50 to 100 by its views, 70 without.

    Views are of the video too, its title and its day. So each counts by how far its logarithm is above the
    level of its video, which is the nearer to that of all videos the fewer labels it has; 50 and half of the
    percentile of that.
    """
    viewed = [i for i, label in enumerate(labels) if label.is_published and label.views is not None]
    logs = {i: float(np.log1p(labels[i].views or 0)) for i in viewed}
    of_all = float(np.mean(list(logs.values()))) if logs else 0.0
    by_video: dict[str, list[float]] = {}
    for i in viewed:
        by_video.setdefault(labels[i].video.uri, []).append(logs[i])
    level = {
        uri: of_all + (np.mean(own) - of_all) * len(own) / (len(own) + SHRINKING)
        for uri, own in by_video.items()
    }
    above = [logs[i] - level[labels[i].video.uri] for i in viewed]
    percentiles = ((ranks(above) - 0.5) / max(1, len(above))).tolist()
    scores = [PUBLISHED if label.is_published else REJECTED for label in labels]
    for i, percentile in zip(viewed, percentiles, strict=True):
        scores[i] = round(50 + 50 * percentile)
    return scores


def chances_of(score: int) -> Floats:
    """Probabilities of the numbers 0 to 100 around a wanted score, which stays the likeliest.

    >>> np.flatnonzero(chances_of(62)).tolist(), float(chances_of(62)[62])
    ([58, 59, 60, 61, 62, 63, 64, 65, 66], 0.63671875)
    """
    chances = np.zeros(101)
    chances[score] = 0.5
    for heads in range(SPREAD + 1):
        number = min(100, max(0, score + heads - SPREAD // 2))
        chances[number] += comb(SPREAD, heads) / 2 ** (SPREAD + 1)
    return chances


def tuning_exam(judged: Sequence[Judged]) -> TuningExam:
    """How much better scores tell what was published from what was rejected; whole videos are drawn."""
    videos = sorted({each.uri for each in judged})
    rows = [np.array([i for i, each in enumerate(judged) if each.uri == uri]) for uri in videos]
    truth = np.array([each.is_published for each in judged], bool)
    both = [np.array([getattr(each, name) for each in judged], float) for name in ("before", "after")]

    def gain(which: npt.NDArray[np.int64]) -> float | None:
        before, after = (roc_auc(truth[which], score[which]) for score in both)
        return None if before is None or after is None else after - before

    value = gain(np.arange(len(judged)))
    before, after = (roc_auc(truth, score) for score in both)
    low = high = None
    if value is not None and len(videos) >= MIN_VIDEOS:
        rng = np.random.default_rng(0)
        drawn = [rng.integers(0, len(videos), len(videos)) for _ in range(DRAWS)]
        found = [gain(np.concatenate([rows[video] for video in draw])) for draw in drawn]
        low, high = np.quantile([each for each in found if each is not None], (0.01, 0.99))
    return TuningExam(before, after, Estimate(value, low, high, len(videos)), len(judged))


def next_digits(chances: Floats, written: str) -> Floats:
    """Probabilities of what follows these digits of a number from 0 to 100: ten digits, and the end.

    >>> next_digits(chances_of(100), "10").round(2).tolist()
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    found = np.zeros(11)
    for number, chance in enumerate(chances):
        if (digits := str(number)).startswith(written):
            found[int(digits[len(written)]) if len(digits) > len(written) else 10] += chance
    return np.asarray(found / found.sum())
