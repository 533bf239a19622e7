"""Makes one clock of the times that packets carry, where a container's clock wraps or starts anew."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from operator import itemgetter
from typing import Any

RESTARTING = frozenset({"mpegts", "mpeg", "ogg", "flv"})
"""Containers whose clock may start anew in the middle.

The first three are those that FFmpeg marks AVFMT_TS_DISCONT; FLV files are written on after a reconnect.
"""
MAX_FORWARD_S = 10.0
"""A larger step forward of sound and picture is a new clock, no pause: FFmpeg's `dts_delta_threshold`."""
MAX_BACKWARD_S = 0.1
"""A larger step back is a new clock, too."""
MAX_STEPS = 1000
"""A file whose clock starts anew more often is broken; each step is a part of one argument of ffmpeg."""
WRAP_S = {"mpegts": Fraction(1 << 33, 90_000), "mpeg": Fraction(1 << 33, 90_000)}
"""After how long a container's clock starts at 0 again (ISO/IEC 13818-1, 2.4.3.7)."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How the times of a stream's packets become times on one clock; all in units of its time base.

    Times are those nearest to `near`, give or take some `wrap` (0: they do not wrap). `steps` are pairs: the
    number of the packet where the clock starts anew, and what is added to times from there on.
    """

    wrap: int = 0
    near: int = 0
    steps: tuple[tuple[int, int], ...] = ()

    def unwrapped(self, time: int) -> int:
        """The time, nearest to `near`."""
        return time - self.wrap * round((time - self.near) / self.wrap) if self.wrap else time

    def continued(self, number: int, time: int) -> int:
        """The time of a packet, the stream's `number`th, on the one clock."""
        step = bisect_right(self.steps, number, key=itemgetter(0))
        return self.unwrapped(time) + (self.steps[step - 1][1] if step else 0)

    def bitstream_filter(self) -> str:
        """The same for ffmpeg, which must leave times alone (option `-copyts`); may be empty.

        By itself it would take a pause for a jump, and the clock of one program for that of another.
        """
        if not self.wrap and not self.steps:
            return ""
        wrapped = f"-{self.wrap}*round(({{0}}-({self.near}))/{self.wrap})" if self.wrap else ""
        time = f"'if(eq({{0}},NOPTS),NOPTS,{{0}}{wrapped}+{_added(self.steps)})'"
        return f"setts=pts={time.format('PTS')}:dts={time.format('DTS')}"


class SoundTimes:
    """The times of the sound's packets beside a video, added in the order they are stored."""

    def __init__(self, stream: Any) -> None:
        self.index: int = stream.index
        self.time_base: Fraction = stream.time_base
        self._times: list[int | None] = []
        self._pictures_before = array("q")
        self._run_s = (inf, -inf)

    def add(self, packet: Any, *, pictures_before: int) -> None:
        """Adds a packet, stored behind so many pictures."""
        time = packet.dts if packet.dts is not None else packet.pts
        self._times.append(time)
        self._pictures_before.append(pictures_before)
        if time is not None:
            now_s = float(time * self.time_base)
            begin_s, last_s = self._run_s
            goes_on = _follows(now_s - last_s)
            self._run_s = (begin_s if goes_on else now_s, now_s)

    def went_on(self, begin_s: float, end_s: float) -> bool:
        """Whether the sound came without a jump from about one time to about another."""
        begun_s, last_s = self._run_s
        return begun_s <= begin_s + MAX_FORWARD_S and _follows(abs(last_s - end_s))

    def follow(self, video: VideoParts) -> tuple[Clock, Fraction | None]:
        """The clock of the sound, which goes with that of the pictures, and when it begins, in seconds.

        A packet goes with the pictures beside it; where a part begins, sound and pictures may change clocks
        a few packets apart.
        """
        scale = video.time_base / self.time_base
        clock = Clock(round(video.clock.wrap * scale), round(video.clock.near * scale))
        offsets = [0, *(round(offset * scale) for _, offset in video.clock.steps)]
        steps: list[tuple[int, int]] = []
        offset, last, first = 0, None, None
        for number, (time, before) in enumerate(zip(self._times, self._pictures_before, strict=True)):
            if time is None:
                continue
            time = clock.unwrapped(time)
            if video.clock.steps:
                part = bisect_left(video.first_pictures, before)
                beside = round(video.pts[max(0, before - 1)] * scale)
                near_parts = offsets[part : part + 2] + offsets[max(0, part - 1) : part]
                chosen = self._chosen(time, near_parts, last=last, beside=beside)
                if chosen != offset:
                    steps.append((number, chosen))
                    offset = chosen
            last = time + offset
            first = last if first is None else first
        begin_s = None if first is None else first * self.time_base
        return Clock(clock.wrap, clock.near, tuple(steps)), begin_s

    def _chosen(self, time: int, offsets: list[int], *, last: int | None, beside: int) -> int:
        """The offset that continues the sound, or else brings it nearest to the picture beside it."""
        for offset in offsets:
            if last is not None and _follows(float((time + offset - last) * self.time_base)):
                return offset
        return min(offsets, key=lambda offset: abs(time + offset - beside))


@dataclass(frozen=True, slots=True)
class VideoParts:
    """When the pictures of a video begin, on its clock, and which begin it anew."""

    time_base: Fraction
    clock: Clock
    pts: array[int]
    first_pictures: list[int]


def _added(steps: Sequence[tuple[int, int]], before: int = 0) -> str:
    """What is added to the time of packet `N`, as an expression: ffmpeg bears no long sum, but nesting.

    >>> _added([(10, 500), (20, 700)])
    'if(lt(N,20),if(lt(N,10),(0),(500)),(700))'
    """
    if not steps:
        return f"({before})"
    middle = len(steps) // 2
    packet, offset = steps[middle]
    return f"if(lt(N,{packet}),{_added(steps[:middle], before)},{_added(steps[middle + 1 :], offset)})"


def _follows(gap_s: float) -> bool:
    return -MAX_BACKWARD_S <= gap_s <= MAX_FORWARD_S
