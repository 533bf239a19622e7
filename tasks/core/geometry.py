"""The size at which a frame is shown, and at which it is kept: arithmetic on widths and heights in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

BYTES_PER_PIXEL = 3


@dataclass(frozen=True, slots=True)
class FrameBudget:
    """How large the frames of a timeline may be.

    Frames are scaled so that both sides are multiples of `multiple_of`, the area lies between
    `min_pixels` and `max_pixels`, and the aspect ratio is kept as closely as that allows. All frames of
    a segment together may have `segment_pixels`.
    """

    max_pixels: int
    min_pixels: int
    multiple_of: int
    segment_pixels: int = 0

    def of_video(self, n_ticks: int) -> FrameBudget:
        """For a video of `n_ticks`: one that is shorter than a segment may have larger frames."""
        return replace(self, max_pixels=max(self.max_pixels, self.segment_pixels // n_ticks))


def display_size(width: int, height: int, *, aspect: Fraction, quarter_turns: int) -> tuple[int, int]:
    """The size a player shows: square pixels, upright.

    `aspect` is the width of one stored pixel by its height; `quarter_turns` how often the picture is
    turned by 90 degrees for showing. Pixels are only ever made larger, so no detail is lost.

    >>> display_size(704, 576, aspect=Fraction(16, 11), quarter_turns=0)
    (1024, 576)
    >>> display_size(1280, 544, aspect=Fraction(1), quarter_turns=1)
    (544, 1280)
    """
    if aspect > 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    return (height, width) if quarter_turns % 2 else (width, height)


def frame_size(width: int, height: int, budget: FrameBudget) -> tuple[int, int]:
    """The `(width, height)` at which frames shown at `width x height` are kept.

    Both sides are rounded to multiples of `budget.multiple_of`; too large an area is shrunk rounding
    down, too small a one grown rounding up: the rule of `smart_resize` in transformers'
    `video_llama_3`. Unlike there, any aspect ratio is accepted, and where the short side cannot shrink
    below one multiple the long side gives way, so that `max_pixels` always holds.

    >>> frame_size(1280, 720, FrameBudget(max_pixels=420 * 224, min_pixels=3136, multiple_of=28))
    (392, 224)
    """
    step = budget.multiple_of
    wide, high = round(width / step) * step, round(height / step) * step
    if wide * high > budget.max_pixels:
        shrink = math.sqrt(width * height / budget.max_pixels)
        wide = max(step, math.floor(width / shrink / step) * step)
        high = max(step, math.floor(height / shrink / step) * step)
    elif wide * high < budget.min_pixels:
        grow = math.sqrt(budget.min_pixels / (width * height))
        wide = math.ceil(width * grow / step) * step
        high = math.ceil(height * grow / step) * step
    return _long_side_gives_way(wide, high, budget)


def _long_side_gives_way(wide: int, high: int, budget: FrameBudget) -> tuple[int, int]:
    if wide * high <= budget.max_pixels:
        return wide, high
    step, short = budget.multiple_of, min(wide, high)
    long = max(step, budget.max_pixels // short // step * step)
    return (long, short) if wide > high else (short, long)


def frames_bytes(n_ticks: int, width: int, height: int) -> int:
    """The size of a file of `n_ticks` raw RGB frames."""
    return n_ticks * width * height * BYTES_PER_PIXEL
