"""What is measured, and of which scores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tasks.core.learning.metrics import Estimate
from tasks.core.learning.videos import Floats, ScoredVideoRows


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of an evaluation: a metric of a score, over the videos of a scope.

    `scope` is `all`, or a run. `note` says why there is no value, or what to keep in mind.
    """

    metric: str
    score: str
    scope: str
    estimate: Estimate
    rows: int
    weighted: bool = False
    note: str = ""


def scores_of(video: ScoredVideoRows) -> dict[str, Floats | None]:
    """What windows can be ordered by, the higher the better; None where it is not known for this video.

    `random` is the same in every evaluation; `position` the earlier the better.
    """
    seed = int.from_bytes(hashlib.sha256(video.etag.encode(errors="surrogatepass")).digest(), "big")
    return {
        "random": np.random.default_rng(seed).random(len(video.start)),
        "position": -video.start,
        "salience": video.salience,
        "fast": video.fast,
        "deep": video.deep,
        "combined": video.combined,
    }
