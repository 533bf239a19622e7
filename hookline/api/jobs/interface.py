"""The interface behind which jobs are queued and run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from hookline.api.jobs.job import Job, Status
from tasks.core.records import VideoRef
from tasks.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller asks for: a video, as they name it and as the store does, ranked under these settings."""

    video_path: str
    video: VideoRef
    settings: Settings
    content: str
    request_id: str = ""


MAX_TIMED = 20


class Took:
    """How long the last jobs took, and what that says of those that wait."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=MAX_TIMED)

    def add(self, seconds: float) -> None:
        """Another one is done."""
        self._seconds.append(seconds)

    def retry_after_s(self, *, ahead: int) -> int:
        """When to ask again about a job that has so many before it."""
        seconds = [*self._seconds]
        each_s = median(seconds) if seconds else 10.0
        return round(min(max(each_s * (ahead + 1), 1), 300))


class Server(Protocol):
    """A Prefect server that is kept up: whether it is now, or never will be again, and how often it ended."""

    is_up: bool
    is_lost: bool
    outages: int


class Jobs(Protocol):
    """Where jobs are. Every method may be called from any thread.

    `submit`, `get`, `list`, `cancel`, `lose` and `close` may wait for a server. The others answer from
    memory, and may be asked from an event loop.
    """

    @property
    def is_draining(self) -> bool:
        """Whether no more jobs are taken, as the service is being stopped."""

    @property
    def is_connected(self) -> bool:
        """Whether the Prefect server was there when it was last looked for."""

    def start(self) -> None:
        """Take up what is there.

        Raises:
            HooklineError: the Prefect server does not answer.
        """

    def submit(self, wanted: Wanted, *, key: str = "") -> tuple[Job, bool]:
        """The job for this, and whether it is one that was there already: it may be under way, or done.

        A call that is repeated with the same `key` makes no second run, whatever became of the first.

        Raises:
            QueueFull: too many jobs wait.
            Draining: the service is being stopped.
        """

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""

    def list(self, *, video_path: str | None = None) -> Iterable[Job]:
        """All jobs that are known, or those of a video as callers named it; the newest first."""

    def tally(self) -> Mapping[Status, int]:
        """How many jobs there are, by status."""

    def position(self, job: Job) -> int | None:
        """Its place in the queue: 1 is next; None if it does not wait."""

    def retry_after_s(self, job: Job | None = None) -> int:
        """Seconds until a job, or the whole queue, is probably done."""

    def cancel(self, job: Job) -> None:
        """Have a job end without a result; one that is final stays as it is."""

    def lose(self, job: Job) -> None:
        """What a job has published is no use any more: who asks for the same gets another job."""

    def close(self, *, within_s: float) -> None:
        """Take no more jobs, and give what runs so much time to end; then the queue has it back."""
