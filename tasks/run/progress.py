"""The interface through which a run reports its progress. Nothing is behind it unless someone watches."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal, Protocol

Counted = Literal["videos", "windows", "segments"]


class Progress(Protocol):
    """Receives counts from any thread. The expected counts grow while videos are opened."""

    def expect(self, what: Counted, count: int) -> None: ...

    def advance(self, what: Counted, count: int = 1) -> None: ...


class NoProgress:
    """Nobody watches."""

    def expect(self, what: Counted, count: int) -> None: ...

    def advance(self, what: Counted, count: int = 1) -> None: ...


NO_PROGRESS = NoProgress()

current_progress: ContextVar[Progress] = ContextVar("current_progress", default=NO_PROGRESS)
"""Set by the caller of the flow; Prefect copies the context to the threads of its tasks."""
