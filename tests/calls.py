"""Calls that tests send to workers. They import little, since each new process does so anew."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tasks.adapters.stopping import raise_if_stopped


def work_until_stopped(folder: str) -> None:
    """Say that it has begun, and go on until the run ends."""
    (Path(folder) / "begun").touch()
    while True:
        raise_if_stopped(folder)
        time.sleep(0.1)


def die(notes: Path, *_: object) -> None:
    """Note which process this is, and end it."""
    with notes.open("a") as file:
        file.write(f"{os.getpid()}\n")
    os.kill(os.getpid(), signal.SIGKILL)
