"""A program for the sandbox: does whatever a test wants."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.adapters.video.forkserver import MAX_OPEN_FILES
from tasks.adapters.video.sandbox import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class OddJob(Job):
    """`does` is one of the functions below; its file is `source`."""

    does: str
    seconds: float = 0
    count: int = 0


def do_job(job: OddJob) -> Any:
    return globals()[job.does](job)


def count(job: OddJob) -> list[int]:
    """A long answer."""
    return list(range(job.count))


def wait(job: OddJob) -> str:
    Path(job.source).touch()
    time.sleep(job.seconds)
    return "waited"


def leave_a_process(job: OddJob) -> str:
    subprocess.Popen(["sleep", "1000"])
    return "done"


def read_standard_input(job: OddJob) -> str:
    return os.read(0, 100).decode()


def count_sockets(job: OddJob) -> int:
    """How many are open."""
    found = 0
    for descriptor in range(MAX_OPEN_FILES):
        with suppress(OSError):
            found += stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    return found


def print_and_fail(job: OddJob) -> None:
    print("on standard output")
    raise ValueError("for a reason")


def die(job: OddJob) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
