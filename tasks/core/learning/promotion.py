"""Whether a fitted head takes the place of what scores now: by the order of windows that were judged.

A recall counted among the champion's own candidates would favour the champion absurdly. The order of pairs of
judged windows does not, and its difference on held-out videos needs no audits to have the right sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.core.amounts import number_of
from tasks.core.learning.metrics import Estimate, concordance, mean_of
from tasks.core.learning.videos import Flags, Floats, ScoredVideoRows

MIN_HELD_OUT = 60
"""Videos below which nothing is promoted."""

MIN_GAIN = 0.01
"""The least mean difference: near twins would take turns."""

MAX_LOSS = 0.02
"""What the difference with the audits' weights may be below 0: it is far less certain."""

Score = Callable[[ScoredVideoRows], Floats]


def is_held_out(etag: str) -> bool:
    """Whether a video is for the exam: every fifth is, for ever, so that no head is fitted on any of them."""
    return int(hashlib.sha256(etag.encode(errors="surrogatepass")).hexdigest(), 16) % 5 == 0


@dataclass(frozen=True, slots=True)
class Exam:
    """How much more often the challenger has two windows of a video in the judge's order than the champion.

    On `candidates`, with the lower bound of 99 % as `low`; and with `audits`, each weighted for the windows
    that it stands for, in the videos of which some were kept from the judge.
    """

    candidates: Estimate
    audits: Estimate
    cut: int

    @property
    def verdict(self) -> list[str]:
        """Why the champion stays; empty if the challenger is better."""
        mean, low, held_out = self.candidates.value, self.candidates.low, self.candidates.videos
        if held_out < MIN_HELD_OUT or mean is None or low is None:
            return [f"{number_of(held_out, 'held-out video')} can be compared, {MIN_HELD_OUT} are needed"]
        why = []
        if low <= 0:
            why.append(f"it may be no better: the difference is at least {low:+.3f} (99 %)")
        if mean < MIN_GAIN:
            why.append(f"it is {mean:+.3f} better, {MIN_GAIN:+.3f} is needed")
        if self.cut and self.audits.value is None:
            why.append("nothing is known of what the fast score leaves out: no audits (audit.windows)")
        elif self.audits.value is not None and self.audits.value <= -MAX_LOSS:
            why.append(f"with the audited windows it is {self.audits.value:+.3f}")
        return why


def compared_in_words(gain: float, least: float | None, *, videos: int, champion: str) -> str:
    """What an exam found of the candidates, in a sentence."""
    bound = "" if least is None else f", at least {least:+.3f} (99 %)"
    return (
        f"On {number_of(videos, 'held-out video')} it has two windows in the judge's order more often than "
        f"{champion} by {gain:+.3f}{bound}"
    )


def exam(videos: Sequence[ScoredVideoRows], *, champion: Score, challenger: Score) -> Exam:
    """Compare two scores on videos of which none was fitted on."""
    candidates: list[float | None] = []
    audits: list[float | None] = []
    for video in videos:
        both = champion(video), challenger(video)
        chosen = video.is_candidate & video.judged
        candidates.append(_gain(video, chosen, both))
        if video.is_cut:
            audited = (video.audited & video.judged).any()
            audits.append(_gain(video, chosen | (video.audited & video.judged), both) if audited else None)
    one_sided = (0.01, 0.99)
    return Exam(mean_of(candidates, quantiles=one_sided), mean_of(audits, quantiles=one_sided), len(audits))


def _gain(video: ScoredVideoRows, which: Flags, scores: tuple[Floats, Floats]) -> float | None:
    before, after = (
        concordance(score[which], video.deep[which], video.audited[which], others=video.others)
        for score in scores
    )
    return None if before is None or after is None else after - before
