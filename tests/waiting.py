"""How long tests wait: by what the machine has to do now, not by hope."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.05
MAX_POLL_S = 1
LOOKING_SHARE = 1 / 50
"""Share of the time spent on looking: a question to a server takes the cores from what is waited for."""


def patience(seconds: float) -> float:
    """So many seconds on a quiet machine, and as many times more as processes want each of its cores now."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(
    found: Callable[[], T],
    within_s: float = 60,
    *,
    or_say: Callable[[], object] | None = None,
) -> T:
    """What `found` returns, as soon as that is true; `or_say` tells why it never was."""
    began = looked = time.monotonic()
    while not (it := found()):
        took_s = time.monotonic() - looked
        waited_s = time.monotonic() - began
        assert waited_s < patience(within_s), (f"not within {waited_s:.0f} s", or_say and or_say())
        time.sleep(min(MAX_POLL_S, max(POLL_S, took_s / LOOKING_SHARE)))
        looked = time.monotonic()
    return it
