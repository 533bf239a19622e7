"""How the C library hands out memory to threads."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_ARENA_MAX = -8
"""The option's number in glibc's malloc.h."""


def share_heaps(at_most: int = 2) -> None:
    """Let all threads share so many heaps; where the C library is not glibc, nothing happens.

    A flow runs each task on a thread of its own, and glibc gives every thread a heap that keeps what it
    once held: with two for all, a 40-minute video took 1.27 GB instead of 1.94, at the same speed.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, at_most)
