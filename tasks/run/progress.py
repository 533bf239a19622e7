"""The interface through which a run reports its progress. Nothing is behind it unless someone watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

from tasks.core.records import VideoRef
from tasks.run.logs import log_event

Counted = Literal["videos", "windows", "segments"]
COUNTED: tuple[Counted, ...] = ("videos", "windows", "segments")


class Progress(Protocol):
    """Receives counts and steps from any thread. The expected counts grow while videos are opened."""

    def expect(self, what: Counted, count: int) -> None: ...

    def advance(self, what: Counted, count: int = 1, *, name: str = "") -> None:
        """So many more are done; `name` is that of a video."""

    def begin(self, step: str) -> None:
        """What follows may take minutes in which nothing can be counted."""

    def end(self, step: str) -> None: ...


class NoProgress:
    """Nobody watches."""

    def expect(self, what: Counted, count: int) -> None: ...

    def advance(self, what: Counted, count: int = 1, *, name: str = "") -> None: ...

    def begin(self, step: str) -> None: ...

    def end(self, step: str) -> None: ...


class Counts:
    """What was counted so far, and what is expected; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._expected: dict[str, int] = dict.fromkeys(COUNTED, 0)

    def expect(self, what: Counted, count: int) -> None:
        with self._lock:
            self._expected[what] += count

    def advance(self, what: Counted, count: int = 1, *, name: str = "") -> None:
        with self._lock:
            self._done[what] += count


NO_PROGRESS = NoProgress()

current_progress: ContextVar[Progress] = ContextVar("current_progress", default=NO_PROGRESS)
"""Set by the caller of the flow; Prefect copies the context to the threads of its tasks."""


@contextmanager
def step(run_id: str, stage: str, what: str, *, video: VideoRef | None = None) -> Iterator[None]:
    """Tell those who watch, and the log, what the block does: it may take minutes."""
    log_event(run_id, stage, what, video=video)
    progress, began = current_progress.get(), time.perf_counter()
    progress.begin(what)
    try:
        yield
    finally:
        progress.end(what)
    log_event(run_id, stage, f"{what}: done", video=video, seconds=time.perf_counter() - began)
