"""What the processes that a benchmark starts use of the CPU."""

from __future__ import annotations

from contextlib import suppress

import psutil


def cpu_seconds() -> float:
    """CPU seconds so far of all processes that were started here, and by these, ended or not.

    A video's process has no end that this one sees: a fork server started it, which goes on.
    """
    me = psutil.Process()
    ended = me.cpu_times()
    seconds = ended.children_user + ended.children_system
    for child in me.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            times = child.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return float(seconds)
