"""What the children of `decoding.run_child` have in common: limits, and a result on standard output."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

OPEN_FILES = 64
"""Decoders and their libraries need a dozen."""

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""linux/sched.h"""


def run_job(result_of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Does the job on standard input; its result, one JSON object, is all that reaches standard output.

    A job says who its `parent` is, and what it may take: `memory_bytes`, and `file_bytes` a file.
    """
    result_fd = os.dup(1)
    # Libraries print as they please.
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    _leave_the_network()  # before the first thread: afterwards the kernel refuses
    threading.Thread(target=_end_with_parent, args=(job["parent"],), daemon=True).start()
    _limit(resource.RLIMIT_AS, job["memory_bytes"])
    _limit(resource.RLIMIT_FSIZE, job["file_bytes"])
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    with os.fdopen(result_fd, "w") as out:
        json.dump(result_of(job), out)


def _leave_the_network() -> None:
    """Go where there are no network devices, not even for loopback, if the kernel lets us (Linux).

    Root may; others may in a user namespace of their own, where those are allowed.
    """
    with suppress(OSError, AttributeError):
        unshare = ctypes.CDLL(None, use_errno=True).unshare
        if unshare(CLONE_NEWNET):
            unshare(CLONE_NEWUSER | CLONE_NEWNET)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _end_with_parent(parent: int) -> None:
    """Ends this process and its ffmpeg once nobody waits for the result any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)
