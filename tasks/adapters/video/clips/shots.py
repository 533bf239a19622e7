"""Ends of a clip moved inward to a change of shot, so that none begins or ends with a flash of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ffmpeg

from tasks.adapters.video.clips.program import quiet, run
from tasks.adapters.video.clips.source import TOLERANCE_S, SourceInfo
from tasks.core.views.pictures import Cut

CHANGE_SCORE = 10
"""From which score of ffmpeg's `scdet` a picture begins another shot: its default."""
MAX_CHANGES = 2
"""More changes in half a second are flicker, such as that of a strobe light."""


def free_of_flashes(cut: Cut, source: Path, info: SourceInfo) -> Cut:
    """The cut without what it shows of another shot at its ends, as far as they may move (see `Cut`).

    They move to the very time of a picture of the source. Only the pictures near both ends are decoded.
    """
    start_s = max(changes_of_shot(source, info, cut.start_s, cut.start_room_s), default=cut.start_s)
    room_s = min(cut.end_room_s, cut.end_s - start_s - float(1 / info.rate))
    # A clip that ends before this picture ends with the shot before it.
    end_s = min(changes_of_shot(source, info, cut.end_s - room_s, room_s), default=cut.end_s)
    return replace(cut, start_s=start_s, end_s=end_s)


def changes_of_shot(source: Path, info: SourceInfo, start_s: float, seconds: float) -> list[float]:
    """When, within so many seconds, pictures begin another shot; none if they flicker.

    One that is on screen from the start begins none. `scdet` compares each with the two before it, which may
    be any time ago: all are decoded from a key picture on.
    """
    if seconds < TOLERANCE_S:
        return []
    picture = info.timed(info.opened(source, start_s=start_s), start_s=start_s)
    picture = picture.filter("trim", end=f"{seconds:.6f}")
    picture = picture.filter("scdet", threshold=CHANGE_SCORE)
    picture = picture.filter("metadata", mode="print", key="lavfi.scd.time", file="pipe:1")
    said = run(quiet(ffmpeg.output(picture, "-", format="null", fps_mode="passthrough"))).stdout
    times = (
        round(start_s + TOLERANCE_S + float(line.partition("=")[2]), 6)
        for line in said.splitlines()
        if line.startswith("lavfi.scd.time=")
    )
    changes = [at_s for at_s in times if at_s > start_s + TOLERANCE_S]
    return changes if len(changes) <= MAX_CHANGES else []
