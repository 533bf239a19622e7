"""Work in the folder of a run, and its end: it is told to stop, and waited for.

A run that is cancelled or suspended leaves threads at work, in its own process and on Dask workers. They ask
here whether to go on.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.core.errors import RunEnded

_stopped: set[Path] = set()
"""Under these folders nothing is done any more."""

_children: dict[Path, Callable[[], object]] = {}
"""How the child processes of this process are ended, by the folder they write to."""

_at_work: Counter[Path] = Counter()
"""How many threads of this process are `at_work` in a folder."""

_changed = threading.Condition()


def stop_work(root: Path) -> None:
    """Kill the children that work in folders under `root`, and have threads that ask there end.

    For good: a child that is only being started ends as soon as it is known.
    """
    with _changed:
        _stopped.add(root)
    for folder, end in list(_children.items()):
        if folder.is_relative_to(root):
            end()


def raise_if_stopped(path: str | Path) -> None:
    """Ask whether to go on with work in this folder, or on a file in it.

    Raises:
        RunEnded: it was stopped.
    """
    # Not a look at each folder that was ever stopped: a service stops one a run.
    if not _stopped.isdisjoint((Path(path), *Path(path).parents)):
        raise RunEnded("The run has ended: its work is stopped.")


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """For the block, this thread works in a folder, and `wait_for_work` waits for it.

    Raises:
        RunEnded: the work there was stopped.
    """
    with _changed:
        raise_if_stopped(folder)
        _at_work[folder] += 1
    try:
        yield
    finally:
        with _changed:
            _at_work[folder] -= 1
            if not _at_work[folder]:
                del _at_work[folder]
            _changed.notify_all()


def wait_for_work(root: Path) -> None:
    """Wait until no thread is `at_work` under `root`."""
    with _changed:
        _changed.wait_for(lambda: not any(folder.is_relative_to(root) for folder in _at_work))


@contextmanager
def child_at_work(folder: Path, end: Callable[[], object]) -> Iterator[None]:
    """For the block, a child works in a folder, unless that is stopped; then `end` ends it, if it must."""
    _children[folder] = end
    try:
        raise_if_stopped(folder)
        yield
    finally:
        del _children[folder]
        end()


def kill_group(leader: int) -> None:
    """End a process and what it started, whatever state they are in."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
