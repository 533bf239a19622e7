"""Whether a night is like those before it: a control chart.

Each night is compared with all nights before it, in standard errors over videos, and these are smoothed: an
exponentially weighted moving average (Roberts 1959), which a large shift moves at once, and a small one in a
few nights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.core.learning.metrics import MIN_VIDEOS

SMOOTHING = 0.2
"""Weight of the newest night."""

ALARM = 3.0
"""Standard errors from which nights differ: without any drift, one night in some hundreds."""

MIN_OF_NIGHT = 5
"""Videos of a night without which it tells nothing."""


def drift(nights: Sequence[Sequence[float | None]]) -> list[float | None]:
    """How far each night is from those before it, in standard errors; None where there is too little to tell.

    A night is a value of each of its videos, or None. One that tells nothing does not move the average; its
    videos count among those before the next nights.
    """
    found: list[float | None] = []
    before: list[float] = []
    average = left = 0.0
    for night in nights:
        values = [value for value in night if value is not None]
        spread = float(np.std(before, ddof=1)) if len(before) >= MIN_VIDEOS else 0.0
        if len(values) >= MIN_OF_NIGHT and spread > 0:
            error = spread * np.sqrt(1 / len(values) + 1 / len(before))
            off = float((np.mean(values) - np.mean(before)) / error)
            average, left = SMOOTHING * off + (1 - SMOOTHING) * average, left + 1
            variance = SMOOTHING / (2 - SMOOTHING) * (1 - (1 - SMOOTHING) ** (2 * left))
            found.append(average / float(np.sqrt(variance)))
        else:
            found.append(None)
        before += values
    return found
