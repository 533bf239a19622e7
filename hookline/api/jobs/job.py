"""A job: one video that is ranked by a flow run, as callers see it."""

from __future__ import annotations

import re
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.run.host import Host
from tasks.run.progress import Counted, Counts


class Status(StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


FINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)

SHARES = {"opening": (0, 10), "windows": (10, 40), "segments": (40, 95)}
"""Per cent of a job at which each of its stages begins and ends; publishing takes the rest."""


@dataclass(frozen=True, slots=True)
class View:
    """How far a job is: `done` of `total` in its `stage`, and per cent of the whole."""

    stage: str
    done: int
    total: int
    percent: int


class JobProgress(Counts):
    """Counts the windows and segments of one job."""

    def __init__(self) -> None:
        super().__init__()
        self._most = 0

    def advance(self, what: Counted, count: int = 1, *, name: str = "") -> None:
        super().advance(what, count, name=name)
        self.view()

    def restore(self, counts: str) -> None:
        """Take over what a run that is elsewhere has counted: `windows=3/12 segments=0/4`."""
        with self._lock:
            for what, done, expected in _COUNT.findall(counts):
                self._done[what], self._expected[what] = int(done), int(expected)

    def begin(self, step: str) -> None: ...

    def end(self, step: str) -> None: ...

    def view(self) -> View:
        """How far it is now; the per cent never fall."""
        with self._lock:
            stage, done, total = "opening", 0, 0
            for what in ("windows", "segments"):
                if self._expected[what]:
                    total = self._expected[what]
                    stage, done = what, min(self._done[what], total)  # a call that is made again counts twice
            first, last = SHARES[stage]
            self._most = max(self._most, first + (last - first) * done // max(total, 1))
            return View(STAGES[stage], done, total, self._most)


_COUNT = re.compile(r"(videos|windows|segments)=(\d+)/(\d+)")

STAGES = {"opening": "opening", "windows": "scoring", "segments": "analysing"}


@dataclass(slots=True, eq=False)
class Job:
    """One job. `content` tells apart all that decides its result; `run_id` names the run that published it.

    `reason`, `kind` and `detail` say why it failed, as in `failures`. One that succeeded without an answer
    about each candidate is not `is_whole`, and worth another try. `done` is set when it is final.
    """

    id: str
    video: VideoRef
    video_path: str
    settings: Settings
    content: str
    created_at: datetime
    request_id: str = ""
    status: Status = Status.QUEUED
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_canceling: bool = False
    run_id: str = ""
    reason: str = ""
    kind: str = ""
    detail: str = ""
    is_whole: bool = True
    progress: JobProgress = field(default_factory=JobProgress)
    done: Future[None] = field(default_factory=Future)
    host: Host | None = None
    waiting: int = 0
    """Callers who wait for its answer here."""

    @property
    def is_final(self) -> bool:
        return self.status in FINAL
