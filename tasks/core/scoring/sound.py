"""What is heard in a window: how loud it is, what sets in suddenly, and how much of it is speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEPS_PER_S = 10
"""How often the loudness is measured."""
BLOCK_STEPS = 4
"""Each measurement is of the 400 ms before it."""
BEFORE_STEPS = 10
"""A burst is compared with the second before it: the pauses in a sentence are shorter."""
BURST_LU = 10.0
"""A sound that is so much louder than what was before it is a burst: to most ears it is twice as loud."""
AUDIBLE_LUFS = -40.0
"""A burst is at least so loud."""
SILENCE_LUFS = -50.0
"""Below, nobody hears anything on a phone."""
GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
"""What is quieter does not count for the loudness (ITU-R BS.1770-4, annex 1)."""


@dataclass(frozen=True, slots=True)
class WindowSound:
    """What is heard in one window; its fields are columns of `windows`."""

    loudness: float
    loudness_peak: float
    bursts: int
    silence_before_burst: float | None
    speech_ratio: float


class SoundMeter:
    """Gives the `WindowSound` of any part of a video."""

    def __init__(self, speech: Sequence[tuple[int, int]], loudness: npt.NDArray[np.float32]) -> None:
        self._speech_s = np.array(speech, np.float64).reshape(-1, 2) / 1000
        self._lufs = loudness.astype(np.float64)
        self._bursts = _bursts(self._lufs)

    def between(self, start_s: float, end_s: float) -> WindowSound:
        """What is heard from `start_s` to `end_s`; -70 LUFS is silence."""
        # Measurement k is of the 400 ms that end at (k + 1) / 10 s.
        first, end = round(start_s * STEPS_PER_S), int(end_s * STEPS_PER_S)
        lufs = self._lufs[first + BLOCK_STEPS - 1 : end]
        silences = [silence_s for step, silence_s in self._bursts.items() if first <= step < end]
        begins_s, ends_s = np.clip(self._speech_s, start_s, end_s).T
        return WindowSound(
            loudness=round(_gated(lufs), 1),
            loudness_peak=round(float(lufs.max(initial=GATE_LUFS)), 1),
            bursts=len(silences),
            silence_before_burst=max(silences, default=None),
            speech_ratio=round(float((ends_s - begins_s).sum()) / (end_s - start_s), 3),
        )


def _gated(lufs: npt.NDArray[np.float64]) -> float:
    """The integrated loudness of overlapping blocks of 400 ms (ITU-R BS.1770-4, annex 1)."""
    loud = lufs[lufs > GATE_LUFS]
    if len(loud) == 0:
        return GATE_LUFS
    return _mean(loud[loud >= _mean(loud) + RELATIVE_GATE_LU])


def _mean(lufs: npt.NDArray[np.float64]) -> float:
    """The loudness of the mean power."""
    return float(10 * np.log10(np.mean(10 ** (lufs / 10))))


def _bursts(lufs: npt.NDArray[np.float64]) -> dict[int, float]:
    """The steps in which a sound sets in, each with the seconds of silence before it."""
    steps = np.arange(BLOCK_STEPS, len(lufs))
    until = steps - BLOCK_STEPS + 1  # what is measured before ends where this block begins
    since = np.maximum(0, until - BEFORE_STEPS)
    power = np.concatenate([[0.0], np.cumsum(10 ** (lufs / 10))])
    before = 10 * np.log10(
        np.maximum((power[until] - power[since]) / (until - since), 10 ** (GATE_LUFS / 10))
    )
    loud = lufs[BLOCK_STEPS:]
    bursting = steps[(loud >= AUDIBLE_LUFS) & (loud >= before + BURST_LU)]
    begins = bursting[np.diff(bursting, prepend=-BEFORE_STEPS) > BLOCK_STEPS]
    return {int(step): _silence_s(lufs, step) for step in begins}


def _silence_s(lufs: npt.NDArray[np.float64], burst: int) -> float:
    """How many seconds it was silent before a burst; the last few measurements may have begun to rise."""
    quiet = lufs[:burst] < SILENCE_LUFS
    rising = int(np.argmax(quiet[::-1][:BLOCK_STEPS]))
    if not quiet[burst - 1 - rising]:
        return 0.0
    last = burst - rising
    loud = np.flatnonzero(~quiet[:last])
    return round(float(last - 1 - (loud[-1] if len(loud) else -1) + BLOCK_STEPS - 1) / STEPS_PER_S, 1)
