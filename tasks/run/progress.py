"""How a run tells whoever watches how far it is: a seam with nothing behind it unless someone looks."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal, Protocol

Counted = Literal["videos", "windows", "segments"]


class Progress(Protocol):
    """Receives counts from any thread. Totals grow as videos are opened."""

    def expect(self, what: Counted, count: int) -> None: ...

    def advance(self, what: Counted, count: int = 1) -> None: ...


class NoProgress:
    """Nobody looks."""

    def expect(self, what: Counted, count: int) -> None: ...

    def advance(self, what: Counted, count: int = 1) -> None: ...


NO_PROGRESS = NoProgress()

current_progress: ContextVar[Progress] = ContextVar("current_progress", default=NO_PROGRESS)
"""Set by whoever starts the flow; Prefect hands the context on to the threads of its tasks."""
