"""Reads times from the packets of a file: when pictures begin, when the last one ends, what is missing."""

from __future__ import annotations

from array import array
from dataclasses import replace
from fractions import Fraction
from math import inf
from typing import Any

from tasks.adapters.video.containers.clock import (
    MAX_BACKWARD_S,
    MAX_FORWARD_S,
    MAX_STEPS,
    RESTARTING,
    WRAP_S,
    Clock,
    SoundTimes,
    VideoParts,
)

MICROSECONDS = 1_000_000
MAX_REORDERED = 32
"""The first picture shown is one of the first that are stored: codecs hold back at most 16."""
MIN_DAMAGE_S = 1.0
"""If less is missing at the end, it is not reported."""


class PacketTimes:
    """The times of the video packets of a file of the format `container`, added in the order they are stored.

    Where its clock starts anew, or wraps, it is continued over the parts. `sound` is the sound beside it.
    """

    def __init__(self, time_base: Fraction, *, container: str, sound: SoundTimes | None = None) -> None:
        self.time_base = time_base
        self.pts = array("q")
        self.clock = Clock(round(WRAP_S.get(container, 0) / time_base))
        self.sound = sound
        self._complete = True
        self._last_end = 0
        self._audio_end_s = 0.0
        self._packets = 0
        self.end_byte = 0
        self._offset = 0
        self._next_dts: int | None = None
        self._first_pictures: list[int] = []
        self._restarting = container in RESTARTING
        # A screen recording without sound may show one picture for long.
        self._max_forward_s = inf if container == "flv" and not sound else MAX_FORWARD_S

    def add(self, packet: Any) -> None:
        """Adds a packet of the video; one marked as discarded shows no picture."""
        pts, dts = packet.pts, packet.dts if packet.dts is not None else packet.pts
        self._packets += 1
        self.end_byte = max(self.end_byte, (packet.pos or 0) + packet.size)
        self._complete = self._complete and pts is not None and not packet.is_discard
        if packet.is_discard or dts is None:
            return
        if self._next_dts is None:
            self.clock = replace(self.clock, near=dts)
        dts, pts = self.clock.unwrapped(dts), self.clock.unwrapped(dts if pts is None else pts)
        self._follow_clock(dts)
        duration = packet.duration or 0
        begin = pts + self._offset
        self._next_dts = dts + self._offset + duration
        self.pts.append(begin)
        self._last_end = max(self._last_end, begin + duration)

    def add_audio(self, packet: Any) -> None:
        """Adds a packet of another stream; only audio counts."""
        if packet.stream.type == "audio" and packet.pts is not None:
            end = packet.pts + (packet.duration or 0)
            self._audio_end_s = max(self._audio_end_s, float(end * packet.time_base))

    def from_origin(self, origin_us: int) -> array[int]:
        """When the pictures begin, in units of the time base after the origin."""
        origin = round(Fraction(origin_us, MICROSECONDS) / self.time_base)
        return array("q", (pts - origin for pts in self.pts))

    def in_order(self) -> bool:
        """Whether every picture has a time of its own and all are shown."""
        return self._complete and len(set(self.pts)) == len(self.pts)

    def origin_us(self, container: Any) -> int:
        """Where the presentation starts, in microseconds on the clock of the packets.

        Where each program has a clock of its own, that is with the first of this picture and its sound;
        elsewhere players begin with the container, but not before 0.
        """
        if not self.clock.wrap:
            return max(0, container.start_time or 0)
        begins_s = min(self.pts[:MAX_REORDERED]) * self.time_base
        if self.sound and (sound_begins_s := self.sound.follow(self.parts())[1]) is not None:
            begins_s = min(begins_s, sound_begins_s)
        return round(begins_s * MICROSECONDS)

    def end_s(self, origin_us: int) -> Fraction:
        """When the last picture ends, in seconds after the origin."""
        return self._end() * self.time_base - Fraction(origin_us, MICROSECONDS)

    def damage(self, declared_s: tuple[float, float], origin_us: int) -> str | None:
        """A sentence if the video ends before its declared duration, or if it has none, that of the file.

        Some programs declare as the duration of a file when it ends, although it starts at the origin.
        """
        reached_s = video_s = float((self._end() - min(self.pts)) * self.time_base)
        promised_s, promised_for_all_s = declared_s
        if not promised_s:
            start_s, video_s = origin_us / MICROSECONDS, float(self.end_s(origin_us))
            promised_s, reached_s = promised_for_all_s, max(video_s, self._audio_end_s - start_s)
            if promised_s - reached_s > start_s - MIN_DAMAGE_S:
                promised_s -= start_s
        return damage_sentence(promised_s, video_s) if promised_s - reached_s > MIN_DAMAGE_S else None

    def clocks(self, index: int) -> dict[int, Clock]:
        """The clocks of the video, which is stream `index`, and of its sound."""
        sound = {self.sound.index: self.sound.follow(self.parts())[0]} if self.sound else {}
        return {index: self.clock, **sound}

    def parts(self) -> VideoParts:
        """What the sound must know of the pictures to follow their clock."""
        return VideoParts(self.time_base, self.clock, self.pts, self._first_pictures)

    def _end(self) -> int:
        last_two = sorted(self.pts)[-2:]
        if self._last_end > last_two[-1]:
            return self._last_end
        # A last picture without a duration gets that of the one before.
        return 2 * last_two[-1] - last_two[0]

    def _follow_clock(self, dts: int) -> None:
        """Continues one clock over the parts of a file."""
        if not self._restarting or self._next_dts is None:
            return
        expected = self._next_dts - self._offset
        gap_s = float((dts - expected) * self.time_base)
        if -MAX_BACKWARD_S <= gap_s <= self._max_forward_s or len(self.clock.steps) == MAX_STEPS:
            return
        between_s = float(expected * self.time_base), float(dts * self.time_base)
        if gap_s > 0 and self.sound and self.sound.went_on(*between_s):
            return
        self._offset = self._next_dts - dts
        self.clock = replace(self.clock, steps=(*self.clock.steps, (self._packets - 1, self._offset)))
        self._first_pictures.append(len(self.pts))


def damage_sentence(declared_s: float, decoded_s: float) -> str:
    """`Timeline.damage` of a file that ends too early."""
    return f"The file declares {declared_s:.1f} s, but only {decoded_s:.1f} s can be decoded."
