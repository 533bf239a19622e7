"""The interface behind which jobs are queued and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hookline.api.jobs.job import Job
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


class Jobs(Protocol):
    """Where jobs are. Every method may be called from any thread, and may wait for a store or a server."""

    @property
    def is_draining(self) -> bool:
        """Whether no more jobs are taken, as the service is being stopped."""

    def submit(self, wanted: Wanted, *, key: str = "") -> tuple[Job, bool]:
        """The job for this, and whether it is one that was there already: it may be under way, or done.

        A call that is repeated with the same `key` makes no second run, whatever became of the first.

        Raises:
            QueueFull: too many jobs wait.
            Draining: the service is being stopped.
        """

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""

    def list(self) -> Sequence[Job]:
        """All jobs that are known, the newest first."""

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
