"""Times in a video, as people read them."""

from __future__ import annotations


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
