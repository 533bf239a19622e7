"""Sliding windows on the sampling grid. Integers only: ticks in, ticks out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from tasks.core.records import Window

T = TypeVar("T")

MAX_BATCH = 32
"""Windows one mapped task scores at most; batches of fewer than 8 cost more to orchestrate than to score."""


def window_starts(n_ticks: int, *, length: int, stride: int) -> list[int]:
    """Start ticks of windows of `length` every `stride` ticks, the last one flush with the end.

    >>> window_starts(10, length=4, stride=3)
    [0, 3, 6]
    >>> window_starts(9, length=4, stride=3)
    [0, 3, 5]
    >>> window_starts(3, length=4, stride=3)
    [0]
    """
    last = max(n_ticks - length, 0)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def windows(n_ticks: int, *, lengths: Iterable[int], stride: int) -> list[Window]:
    """All windows of a timeline of `n_ticks`, sorted, each once. Too short a timeline is one window."""
    return sorted(
        {
            Window(start, min(start + length, n_ticks))
            for length in lengths
            for start in window_starts(n_ticks, length=length, stride=stride)
        }
    )


def batches(items: Sequence[T], *, size: int) -> list[list[T]]:
    """Cut `items` into near-equal runs of at most `size`, in order.

    >>> [len(batch) for batch in batches(range(34), size=32)]
    [17, 17]
    """
    count = -(-len(items) // size)
    cuts = [len(items) * i // max(count, 1) for i in range(count + 1)]
    return [list(items[a:b]) for a, b in pairwise(cuts)]


def sample_ticks(window: Window, *, count: int) -> list[int]:
    """`count` ticks spread evenly over a window, both ends included; repeats where it is shorter.

    >>> sample_ticks(Window(10, 20), count=4)
    [10, 13, 16, 19]
    """
    last = window.length - 1
    return [window.start + i * last // max(count - 1, 1) for i in range(count)]
