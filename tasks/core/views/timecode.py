"""SMPTE timecode: pictures counted as HH:MM:SS:FF, with drop-frame or without (SMPTE ST 12-1)."""

from __future__ import annotations

import math
import re
from fractions import Fraction

RATES = tuple(
    Fraction(*rate)
    for rate in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60000, 1001), (60, 1))
)
"""Pictures a second that editing programs know."""
NEAR = 0.005
"""Rates that differ by so small a part are the same: pictures are lost, and times rounded."""
_TIMECODE = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d\d)", re.ASCII)


def rate_near(fps: float, timecode: str = "") -> Fraction:
    """The one of `RATES` in which a video with so many pictures a second is edited.

    It is a multiple, or a part, where there is one. A `timecode` with drop-frame has a rate that knows it.
    What no video has, such as none at all, counts as 30.

    >>> [str(rate_near(fps)) for fps in (23.976, 25, 29.97, 29.83, 15, 10, 48, 120)]
    ['24000/1001', '25', '30000/1001', '30000/1001', '30', '30', '24', '60']
    >>> str(rate_near(30, "01:00:00;00"))
    '30000/1001'
    """

    def misfit(rate: Fraction) -> tuple[bool, int, float]:
        ratio = max(rate / fps, fps / rate)
        off = abs(ratio / round(ratio) - 1)
        return off > NEAR, round(ratio), off

    rate = min(RATES, key=misfit) if 0 < fps < math.inf else Fraction(30)
    found = _TIMECODE.fullmatch(timecode)
    with_drop = rate * Fraction(1000, 1001)
    return with_drop if found and found[4] != ":" and _dropped(with_drop) else rate


def frames_of(timecode: str, rate: Fraction) -> tuple[int, bool] | None:
    """How many pictures a timecode counts, and whether it leaves numbers out; None if it is none at `rate`.

    >>> frames_of("00:01:00;02", Fraction(30000, 1001)), frames_of("01:00:00:00", Fraction(25))
    ((1800, True), (90000, False))
    >>> frames_of("00:00:00:25", Fraction(25)), frames_of("soon", Fraction(25))
    (None, None)
    """
    found = _TIMECODE.fullmatch(timecode)
    if not found or int(found[5]) >= round(rate):
        return None
    hours, minutes, seconds, frames = (int(found[part]) for part in (1, 2, 3, 5))
    minutes += 60 * hours
    is_drop = found[4] != ":" and _dropped(rate) > 0
    skipped = _dropped(rate) * (minutes - minutes // 10) if is_drop else 0
    return (60 * minutes + seconds) * round(rate) + frames - skipped, is_drop


def timecode(frames: int, rate: Fraction, *, is_drop: bool) -> str:
    """So many pictures as HH:MM:SS:FF; with drop-frame, a semicolon stands before FF. A day has 24 hours.

    >>> timecode(1800, Fraction(30000, 1001), is_drop=True), timecode(90000, Fraction(25), is_drop=False)
    ('00:01:00;02', '01:00:00:00')
    """
    whole = round(rate)
    if is_drop:
        # Of each minute but every tenth, the first numbers are left out.
        dropped = _dropped(rate)
        tens, rest = divmod(frames, 600 * whole - 9 * dropped)
        frames += dropped * (9 * tens + max(0, rest - dropped) // (60 * whole - dropped))
    seconds, number = divmod(frames, whole)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours % 24:02}:{minutes:02}:{seconds:02}{';' if is_drop else ':'}{number:02}"


def _dropped(rate: Fraction) -> int:
    """How many numbers drop-frame leaves out at the beginning of a minute; 0 where there is none."""
    return {30: 2, 60: 4}.get(round(rate), 0) if rate.denominator == 1001 else 0
