"""What a clip is cut out of: the streams of a video file, and its pictures on the clock of a clip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tasks.adapters.video.containers.clock import RESTARTING, Clock
from tasks.adapters.video.ffmpeg_input import ffmpeg_input
from tasks.adapters.video.packet_times import MICROSECONDS
from tasks.adapters.video.probe import (
    first_picture,
    open_video,
    quarter_turns,
    real_video,
    scan,
    sound_beside,
)
from tasks.adapters.video.shaping import TURNS, steady_input
from tasks.core.colours import Colours
from tasks.core.geometry import display_size

THREADS = min(4, os.cpu_count() or 1)
PREROLL_S = 3.0
"""How long before the start of a clip decoding begins: seeking is not exact in every format."""
TOLERANCE_S = 0.001
"""A picture counts as on screen this long before its time: times are rounded, in Matroska to milliseconds."""
MIN_FPS, MAX_FPS, DEFAULT_FPS = Fraction(10), Fraction(60), Fraction(30)
"""A clip has the frame rate of its video, within bounds that phones play."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What must be known of a file to cut it.

    `stream` and `sound` are the indices of streams, `clocks` theirs. `rate` is the frame rate of the clip.
    `offset_s`, added to the times of packets after their clock, gives the video's own; `quarter_turns` show
    it upright (see `probe`), `size` is width and height of that.
    """

    stream: int
    sound: int | None
    clocks: Mapping[int, Clock]
    rate: Fraction
    offset_s: float
    size: tuple[int, int]
    can_seek: bool
    quarter_turns: int | None
    colours: Colours

    def opened(self, source: Path, *, start_s: float) -> Any:
        """The input of an ffmpeg command that decodes from a key picture before `start_s`."""
        seek_s = max(0.0, start_s - PREROLL_S) if self.can_seek else 0.0
        seek = {"noaccurate_seek": None, "ss": f"{seek_s:.6f}"} if seek_s else {}
        return ffmpeg_input(source, self.clocks, threads=THREADS, **steady_input(self.quarter_turns), **seek)

    def pictures(self, opened: Any, *, start_s: float) -> Any:
        """The pictures at the rate of the clip, whose clock starts at 0 with `start_s`.

        Those from before are dropped but the last one, which is on screen then.
        """
        rate = f"{self.rate.numerator}/{self.rate.denominator}"
        return self.timed(opened, start_s=start_s).filter("fps", fps=rate, round="up", start_time=0)

    def timed(self, opened: Any, *, start_s: float) -> Any:
        """All pictures at their own times on this clock, less `TOLERANCE_S`."""
        # The first filter gives all pictures the size and format of the first one, or leaves them alone.
        picture = opened[str(self.stream)].filter("scale", interl=-1)
        picture = picture.filter("bwdif", deint="interlaced").filter("settb", "AVTB")
        return picture.filter("setpts", f"PTS+({self.shift_s(start_s) - TOLERANCE_S:.6f})/TB")

    def upright(self, picture: Any) -> Any:
        """Shows pictures upright."""
        if self.quarter_turns is None:
            return picture  # ffmpeg does it
        for name, options in TURNS.get(self.quarter_turns, ()):
            picture = picture.filter(name, **options)
        return picture.filter("sidedata", mode="delete", type="DISPLAYMATRIX")

    def shift_s(self, start_s: float) -> float:
        """What is added to the times of packets so that the clock starts at 0 with `start_s`."""
        return self.offset_s - start_s


def read_info(path: Path, *, name: str) -> SourceInfo:
    """Reads what is needed from the beginning of a file; all its packets where the clock may start anew."""
    with open_video(path) as container:
        first = first_picture(container, real_video(container, name=name), name=name)
        turns, colours, stored = quarter_turns(first), Colours.of(first), (first.width, first.height)
    with open_video(path) as container:
        kind, stream = container.format.name, real_video(container, name=name)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        sound = sound_beside(container, stream)
        rate = Fraction(stream.guessed_rate or stream.average_rate or DEFAULT_FPS)
        clocks, origin_us = {}, max(0, container.start_time or 0)
        if kind in RESTARTING:
            times, _ = scan(container, stream, name=name)
            clocks, origin_us = times.clocks(stream.index), times.origin_us(container)
        return SourceInfo(
            stream=stream.index,
            sound=sound.index if sound else None,
            clocks=clocks,
            rate=min(max(rate, MIN_FPS), MAX_FPS).limit_denominator(1001),
            offset_s=-origin_us / MICROSECONDS,
            size=display_size(*stored, aspect=aspect, quarter_turns=turns or 0),
            can_seek=kind not in RESTARTING,
            quarter_turns=turns,
            colours=colours,
        )
