"""Reads times from the packets of a file: when pictures begin, when the last one ends, what is missing."""

from __future__ import annotations

from array import array
from fractions import Fraction
from typing import Any

MICROSECONDS = 1_000_000

DISCONTINUOUS = frozenset({"mpegts", "mpeg", "ogg"})
"""Containers whose clock may jump in the middle of the file (AVFMT_TS_DISCONT in FFmpeg)."""
MAX_FORWARD_S = 10
"""A larger step forward is a new clock, not a pause: FFmpeg's `dts_delta_threshold`."""
MAX_BACKWARD_S = 0.1
"""A larger step back is a new clock, too."""
MIN_DAMAGE_S = 1.0
"""If less is missing at the end, it is not reported."""


class PacketTimes:
    """The times of the video packets of a file, added in the order they are stored."""

    def __init__(self, time_base: Fraction, *, discontinuous: bool) -> None:
        self.time_base = time_base
        self.pts = array("q")
        self._complete = True
        self._last_end = 0
        self._audio_s = 0.0
        self._offset = 0
        self._next_dts: int | None = None
        self._discontinuous = discontinuous

    def add(self, packet: Any) -> None:
        """Adds a packet of the video; one marked as discarded shows no picture."""
        pts, dts = packet.pts, packet.dts if packet.dts is not None else packet.pts
        self._complete = self._complete and pts is not None and not packet.is_discard
        if packet.is_discard or dts is None:
            return
        self._follow_clock(dts)
        duration = packet.duration or 0
        begin = (dts if pts is None else pts) + self._offset
        self._next_dts = dts + self._offset + duration
        self.pts.append(begin)
        self._last_end = max(self._last_end, begin + duration)

    def add_audio(self, packet: Any) -> None:
        """Adds a packet of another stream; only audio counts."""
        if packet.stream.type == "audio" and packet.pts is not None:
            units = packet.pts - (packet.stream.start_time or 0) + (packet.duration or 0)
            self._audio_s = max(self._audio_s, float(units * packet.time_base))

    def from_origin(self, origin_us: int) -> array[int]:
        """When the pictures begin, in units of the time base after the origin."""
        origin = round(Fraction(origin_us, MICROSECONDS) / self.time_base)
        return array("q", (pts - origin for pts in self.pts))

    def in_order(self) -> bool:
        """Whether every picture has a time of its own and all are shown."""
        return self._complete and len(set(self.pts)) == len(self.pts)

    def end_s(self, origin_us: int) -> Fraction:
        """When the last picture ends, in seconds after the origin."""
        return self._end() * self.time_base - Fraction(origin_us, MICROSECONDS)

    def damage(self, declared_s: tuple[float, float]) -> str | None:
        """A sentence if the video ends before its declared duration, or if it has none, that of the file."""
        reached_s = video_s = float((self._end() - min(self.pts)) * self.time_base)
        promised_s, promised_for_all_s = declared_s
        if not promised_s:
            promised_s, reached_s = promised_for_all_s, max(video_s, self._audio_s)
        return damage_sentence(promised_s, video_s) if promised_s - reached_s > MIN_DAMAGE_S else None

    def _end(self) -> int:
        last_two = sorted(self.pts)[-2:]
        if self._last_end > last_two[-1]:
            return self._last_end
        # A last picture without a duration gets that of the one before.
        return 2 * last_two[-1] - last_two[0]

    def _follow_clock(self, dts: int) -> None:
        """Continues one clock over parts that were joined into one file, as ffmpeg does."""
        if not self._discontinuous or self._next_dts is None:
            return
        gap_s = float((dts + self._offset - self._next_dts) * self.time_base)
        if not -MAX_BACKWARD_S <= gap_s <= MAX_FORWARD_S:
            self._offset = self._next_dts - dts


def damage_sentence(declared_s: float, decoded_s: float) -> str:
    """`Timeline.damage` of a file that ends too early."""
    return f"The file declares {declared_s:.1f} s, but only {decoded_s:.1f} s can be decoded."
