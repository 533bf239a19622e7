"""What an editing program is given of a video: its moments one after the other, counted in pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tasks.core.records import Segment, Timeline
from tasks.core.scoring.window_cuts import seconds_of
from tasks.core.views.escaping import printable
from tasks.core.views.pictures import cut_of
from tasks.core.views.timecode import frames_of, rate_near

TOLERANCE_S = Fraction(1, 1000)
"""A picture counts as on screen this long before its time, as where clips are cut."""


@dataclass(frozen=True, slots=True)
class Take:
    """One moment: `frames` pictures from number `first` of the source on, and a marker at number `marked`."""

    name: str
    why: str
    first: int
    frames: int
    marked: int


@dataclass(frozen=True, slots=True)
class EditList:
    """The moments of a video, the best first, at `rate` pictures a second.

    The source has `frames` pictures of `width` x `height`, and the timecode `start`, in pictures, where it
    begins. `uri` says where it lies.
    """

    name: str
    uri: str
    rate: Fraction
    start: int
    is_drop: bool
    frames: int
    width: int
    height: int
    has_sound: bool
    takes: tuple[Take, ...]


def edit_list(segments: Sequence[Segment], timeline: Timeline) -> EditList:
    """The best segment of each moment, as its clip shows it, or would."""
    fps, timecode = (
        timeline.source_rate or timeline.source_fps or timeline.fps,
        timeline.source_timecode or "",
    )
    rate = rate_near(fps, timecode)
    frames = max(1, round(_exact(timeline.duration_s) * rate))
    start, is_drop = frames_of(timecode, rate) or (0, False)
    best = sorted((each for each in segments if each.best_of_moment is not False), key=lambda each: each.rank)
    return EditList(
        name=printable(timeline.video.name),
        uri=timeline.video.label,
        rate=rate,
        start=start,
        is_drop=is_drop,
        frames=frames,
        width=timeline.source_width or timeline.width,
        height=timeline.source_height or timeline.height,
        has_sound=timeline.has_sound,
        takes=tuple(_take(segment, timeline, rate, frames) for segment in best),
    )


def pictures_of(start_s: float, end_s: float, rate: Fraction) -> tuple[int, int]:
    """The number of the picture on screen at the start of a stretch of a video, and of how many it is.

    >>> pictures_of(7.37, 12.791, Fraction(30))
    (221, 163)
    """
    start, end = _exact(start_s), _exact(end_s)
    return math.floor((start + TOLERANCE_S) * rate), max(1, round((end - start) * rate))


def _take(segment: Segment, timeline: Timeline, rate: Fraction, frames: int) -> Take:
    first, count = pictures_of(*(segment.clip_span_s or seconds_of(segment, timeline)), rate)
    first = min(first, frames - 1)
    count = min(count, frames - first)
    marked = math.ceil((_exact(cut_of(segment, timeline).poster_s) - TOLERANCE_S) * rate) - 1
    return Take(
        name=f"#{segment.rank} score {segment.score}",
        why=_why(segment),
        first=first,
        frames=count,
        marked=max(first, min(marked, first + count - 1)),
    )


def _why(segment: Segment) -> str:
    if answer := segment.analysis.answer:
        return printable(answer.reasoning)
    place = f", percentile {segment.why.video_percentile:.0f} of its video" if segment.why else ""
    return f"VideoMAE only: fast score {segment.fast_score}{place}"


def _exact(seconds: float) -> Fraction:
    """Seconds to the millisecond: ends of clips are more exact, and lose less than `TOLERANCE_S`."""
    return Fraction(round(seconds * 1000), 1000)
