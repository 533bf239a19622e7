"""What the children of `decoding.run_child` have in common: limits, and a result on standard output."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


def run_job(result_of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Does the job on standard input; its result, one JSON object, is all that reaches standard output.

    A job says who its `parent` is, and what it may take: `memory_bytes`, and `file_bytes` a file.
    """
    result_fd = os.dup(1)
    # Libraries print as they please.
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    threading.Thread(target=_end_with_parent, args=(job["parent"],), daemon=True).start()
    _limit(resource.RLIMIT_AS, job["memory_bytes"])
    _limit(resource.RLIMIT_FSIZE, job["file_bytes"])
    _limit(resource.RLIMIT_CORE, 0)
    with os.fdopen(result_fd, "w") as out:
        json.dump(result_of(job), out)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _end_with_parent(parent: int) -> None:
    """Ends this process and its ffmpeg once nobody waits for the result any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)
