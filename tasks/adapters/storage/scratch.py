"""Local disk where videos are unpacked: one folder a run, gone when the run is, however it ended."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tasks.adapters.stopping import stop_work
from tasks.core.records import VideoRef

WORKER = "worker-"
"""Begins the name of a Dask worker's folder, where each run has one of its own."""


@contextmanager
def run_folder(root: str, run_id: str) -> Iterator[Path]:
    """A folder for one run, removed at the end; what killed runs left behind is removed first.

    The kernel drops a dead process's lock, so a folder whose lock is free belongs to nobody.
    """
    base = scratch_base(root)
    lock_path, folder = base / f"{run_id}.lock", base / run_id
    with _locked(base / "lock"):
        lock = lock_path.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(base)
    with lock:
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock_path.unlink(missing_ok=True)


def leave_run(run_id: str, root: str) -> None:
    """On a Dask worker: stop what it does for a run, and free the space of the run on this machine."""
    # Another worker of this machine may have removed the folder of this one already.
    for worker in scratch_base(root).glob(f"{WORKER}*/"):
        stop_work(folder := worker / run_id)
        shutil.rmtree(folder, ignore_errors=True)


def scratch_base(root: str) -> Path:
    """The folder for all runs under `root` (empty = the system's own); each user has their own.

    Nobody may remove what belongs to others.
    """
    base = Path(root or tempfile.gettempdir()) / f"hookline-{os.getuid()}"
    base.mkdir(parents=True, exist_ok=True)
    return base


def scratch_name(root: str) -> str:
    """What tells this scratch folder from every other one, on this machine or elsewhere."""
    with _locked(scratch_base(root) / "lock") as lock:
        lock.seek(0)
        name = lock.read()
        if not name:
            name = secrets.token_hex(8)
            lock.write(name)
    return f"{socket.gethostname()}-{name}"


def has_ended(root: str, run_id: str) -> bool:
    """Whether a run that once worked in this scratch folder is over: the kernel has freed its lock."""
    try:
        with (scratch_base(root) / f"{run_id}.lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def sweep(base: Path) -> None:
    """Remove the folders of runs that are no longer alive."""
    for lock_path in base.glob("*.lock"):
        with suppress(BlockingIOError, FileNotFoundError), lock_path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
            lock_path.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[TextIO]:
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def video_folder(run_folder: Path, video: VideoRef) -> Path:
    """Where one version of a video is unpacked; no character of its URI is part of the name."""
    return run_folder / video.key[:24]
