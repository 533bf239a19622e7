"""Edit lists as CMX 3600 EDL, which nearly every program reads.

One event a moment, one after the other from 01:00:00:00 on. Markers are comments of the form `LOC`, which
Avid and others know.
"""

from __future__ import annotations

from tasks.core.views.edit_list import EditList
from tasks.core.views.timecode import frames_of, timecode

REEL = "AX"
"""The reel of what comes from no tape: programs go by the name of the clip."""


def as_edl(edit: EditList) -> str:
    """The text of an EDL."""
    channels = "AA/V" if edit.has_sound else "V"
    starts = frames_of("01:00:00;00" if edit.is_drop else "01:00:00:00", edit.rate)
    position = starts[0] if starts else 0
    lines = [f"TITLE: {edit.name}", f"FCM: {'' if edit.is_drop else 'NON-'}DROP FRAME"]

    def shown(frames: int) -> str:
        return timecode(frames, edit.rate, is_drop=edit.is_drop)

    for number, take in enumerate(edit.takes, 1):
        first = edit.start + take.first
        times = (first, first + take.frames, position, position + take.frames)
        lines += [
            "",
            f"{number:03}  {REEL:8} {channels:5} C        {' '.join(map(shown, times))}",
            f"* FROM CLIP NAME: {edit.name}",
            f"* SOURCE FILE: {edit.uri}",
            f"* LOC: {shown(position + take.marked - take.first)} RED     {take.name}: {take.why}",
        ]
        position += take.frames
    return "\n".join(lines) + "\n"
