"""Sizes as people read them."""

from __future__ import annotations

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size_text(size_bytes: float) -> str:
    """A size in the decimal unit that fits it, with four digits that count.

    >>> [size_text(size) for size in (0, 999, 81_920, 4_300_000_000)]
    ['0 bytes', '999 bytes', '81.92 kB', '4.3 GB']
    """
    power = sum(size_bytes >= 1000**power for power in range(1, len(UNITS)))
    return f"{size_bytes / 1000**power:.4g} {UNITS[power]}"
