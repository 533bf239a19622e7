"""Ends of a clip moved inward to a change of shot, so that none begins or ends with a flash of another."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import ffmpeg

from tasks.adapters.video.clips.program import quiet, run
from tasks.adapters.video.clips.source import TOLERANCE_S, SourceInfo
from tasks.core.views.pictures import Cut

CHANGE_SCORE = 10
"""From which score of ffmpeg's `scdet` a picture begins another shot: its default."""
CONTEXT = 2
"""Pictures before the first one that is judged: `scdet` compares each with the two before it."""
MAX_CHANGES = 2
"""More changes in half a second are flicker, such as that of a strobe light."""


def free_of_flashes(cut: Cut, source: Path, info: SourceInfo) -> Cut:
    """The cut without what it shows of another shot at its ends, as far as they may move (see `Cut`).

    They move by whole pictures of the clip. Only the pictures near both ends are decoded.
    """
    count = max(1, round((cut.end_s - cut.start_s) * info.rate))
    room = _whole_pictures(cut.start_room_s, info)
    changes = [at for at in changes_of_shot(source, info, start_s=cut.start_s, count=room + 1) if at > 0]
    first = max(changes, default=0)
    room = min(_whole_pictures(cut.end_room_s, info), count - 1 - first)
    start_s = cut.start_s + float((count - room) / info.rate)
    # A clip that ends before this picture ends with the shot before it.
    changes = changes_of_shot(source, info, start_s=start_s, count=room)
    last = count - room + min(changes, default=room)
    moved = replace(cut, start_s=cut.start_s + float(first / info.rate)) if first else cut
    return replace(moved, end_s=cut.start_s + float(last / info.rate)) if last < count else moved


def changes_of_shot(source: Path, info: SourceInfo, *, start_s: float, count: int) -> list[int]:
    """Which of the `count` pictures from `start_s` on begin another shot; none if they flicker."""
    context = min(CONTEXT, _whole_pictures(start_s, info))
    if count < 1:
        return []
    begin_s = start_s - float(context / info.rate)
    picture = info.pictures(info.opened(source, start_s=begin_s), start_s=begin_s)
    picture = picture.filter("scdet", threshold=CHANGE_SCORE)
    picture = picture.filter("metadata", mode="print", key="lavfi.scd.time", file="pipe:1")
    output = ffmpeg.output(picture, "-", format="null", **{"frames:v": context + count})
    numbers = [
        int(line.partition("frame:")[2].split()[0]) - context
        for line in run(quiet(output)).stdout.splitlines()
        if line.startswith("frame:")
    ]
    changes = [number for number in numbers if 0 <= number < count]
    return changes if len(changes) <= MAX_CHANGES else []


def _whole_pictures(seconds: float, info: SourceInfo) -> int:
    return math.floor((seconds + TOLERANCE_S) * info.rate)
