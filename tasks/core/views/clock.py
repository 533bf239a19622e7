"""Times in a video, as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasks.core.errors import SettingsError

_TIME = re.compile(
    r"(?:(?:(\d{1,9}):(?=[0-5]?\d:))?(\d{1,9}):(?=[0-5]?\d(?:\.|$)))?(\d{1,9}(?:\.\d+)?)", re.ASCII
)


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
