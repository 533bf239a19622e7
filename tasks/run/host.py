"""A process that has many runs, one after the other: what it lends each of them, and how it stops one."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from pathlib import Path

from tasks.adapters.stopping import stop_work
from tasks.adapters.workers.processes import Workers


class Host:
    """What one run is lent: workers that stay when it ends, with the models that they have loaded.

    `library` is the output of which the run recalls what is known of its videos, and with which it shares
    analyses; its own output gets none of the videos that the run does not list.
    """

    def __init__(self, workers: Workers, *, library: str) -> None:
        self.workers, self.library = workers, library
        self._lock, self._scratch = threading.Lock(), Path()
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether the run was told to end."""
        return self._is_stopped

    def has_begun(self, scratch: Path) -> None:
        """The run works in this folder."""
        with self._lock:
            self._scratch = scratch
            if self._is_stopped:
                stop_work(scratch)

    def stop(self) -> None:
        """End the run: no batch, segment or decoder is begun any more, and nothing is published."""
        with self._lock:
            self._is_stopped = True
            if self._scratch != Path():
                stop_work(self._scratch)


current_host: ContextVar[Host | None] = ContextVar("current_host", default=None)
"""Set by whoever runs the flow in such a process; Prefect copies the context to the threads of its tasks."""
