"""Times in a video, as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasks.core.errors import SettingsError

NTSC = (24, 30, 48, 60, 120)
"""Nominal rates of which 1000/1001 is in use as well."""

RATE_TOLERANCE = 0.005
"""How far the average rate of a video may be from the rate it was made at, in pictures a second."""

NEXT_PICTURE = 0.01
"""A time that comes before a picture by no more than this part of one is a rounded one of that picture."""

_TIME = re.compile(r"(?:(?:(\d+):(?=[0-5]?\d:))?(\d+):(?=[0-5]?\d(?:\.|$)))?(\d+(?:\.\d+)?)", re.ASCII)


def clock(seconds: float) -> str:
    """Seconds as `h:mm:ss`, with tenths if there are any.

    >>> clock(59), clock(3723.5), clock(59.97)
    ('0:59', '1:02:03.5', '1:00')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02}:{shown}" if hours else f"{minutes}:{shown}"


def timecode(seconds: float, fps: float) -> str:
    """Seconds as `HH:MM:SS:FF`: the picture on screen, as programs for cutting count it (SMPTE ST 12-1).

    `fps` is the number of pictures a second; one that is near 30000/1001 or the like is that. Where numbers
    are dropped, so that the count keeps up with the clock (29.97, 59.94), pictures come after `;`. At a rate
    that is no standard's, pictures are counted within each second.

    >>> timecode(3723.5, 25.0), timecode(60.06, 29.97), timecode(3600, 23.976), timecode(1.5, 27.3)
    ('01:02:03:12', '00:01:00;02', '00:59:56:09', '00:00:01:13')
    """
    nominal = max(1, round(fps))
    is_ntsc = nominal in NTSC and abs(fps - nominal / 1.001) < abs(fps - nominal)
    exact = nominal / 1.001 if is_ntsc else nominal
    mark = ":"
    if abs(fps - exact) > RATE_TOLERANCE:
        number = int(seconds) * nominal + int(seconds % 1 * fps)
    else:
        number = int(seconds * exact + NEXT_PICTURE)
        if is_ntsc and nominal % 30 == 0:
            mark, number = ";", _with_dropped(number, nominal)
    whole, pictures = divmod(number, nominal)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{mark}{pictures:02}"


def _with_dropped(number: int, nominal: int) -> int:
    """The number of a picture where each minute but every tenth begins with numbers that are left out."""
    dropped = nominal // 15
    of_minute = nominal * 60 - dropped
    tens, rest = divmod(number, of_minute * 10 + dropped)
    return number + dropped * (9 * tens + max(0, (rest - dropped) // of_minute))


def seconds_from(text: str) -> float:
    """The seconds that people write as `h:mm:ss`, `m:ss` or `s`, each with a fraction or without.

    >>> seconds_from("1:02.5"), seconds_from("1:02:03"), seconds_from("90")
    (62.5, 3723.0, 90.0)

    Raises:
        SettingsError: it is none of them.
    """
    if not (found := _TIME.fullmatch(text)):
        raise SettingsError(f"{text!r} is no time: write it as 1:02:03, 1:02.5 or 62.5")
    hours, minutes, seconds = found.groups("0")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def watched(row: Mapping[str, Any]) -> tuple[float, float]:
    """From when to when the segment of a row is watched: its cut where one is known, else its window.

    >>> watched({"start": 3.0, "end": 62.0, "cut_start": 4.2, "cut_end": 60.5})
    (4.2, 60.5)
    >>> watched({"start": 3.0, "end": 62.0, "cut_start": None})
    (3.0, 62.0)
    """
    if row.get("cut_start") is None:
        return row["start"], row["end"]
    return row["cut_start"], row["cut_end"]
