"""Amounts as people read them: how many there are of something, and sizes."""

from __future__ import annotations

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def number_of(count: int, thing: str, several: str = "") -> str:
    """How many there are of something, in words that agree; `several` where one `s` is not all that changes.

    >>> number_of(1, "video"), number_of(1_200, "video"), number_of(0, "analysis", "analyses")
    ('1 video', '1,200 videos', '0 analyses')
    """
    return f"{count:,} {thing if count == 1 else several or f'{thing}s'}"


def size_text(size_bytes: float) -> str:
    """A size in the decimal unit that fits it, with four digits that count.

    >>> [size_text(size) for size in (1, 999, 81_920, 4_300_000_000)]
    ['1 byte', '999 bytes', '81.92 kB', '4.3 GB']
    """
    power = sum(size_bytes >= 1000**power for power in range(1, len(UNITS)))
    return f"{size_bytes / 1000**power:.4g} {UNITS[power] if size_bytes != 1 else 'byte'}"
