"""Jobs that stand for answers which were known without one.

Nothing is kept of them: an id names the run that has the answer, and the video. So every service under the
same output knows the job, also after a restart.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

from hookline.api.jobs.interface import Wanted
from hookline.api.jobs.job import Job, Status
from hookline.api.service.answers import read_answer
from tasks.adapters.storage import open_store
from tasks.adapters.storage.published import manifest_of, read_table
from tasks.core.errors import StorageError
from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.run.active_runs import RUN_ID_TIME

MAX_ANSWERS = 10_000
"""Answers in memory; beyond, all begin anew."""

_ID = re.compile(r"([0-9]{8}T[0-9]{6}Z-[0-9a-f]{6})-([0-9a-f]{32})")


class KnownJobs:
    """Answers that were known, each with the job that stands for it."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._by_id: dict[str, tuple[Job, dict[str, Any]]] = {}
        self._by_content: dict[str, Job] = {}

    def get(self, content: str) -> Job | None:
        """The job for what was asked for before."""
        return self._by_content.get(content)

    def keep(self, wanted: Wanted, answer: dict[str, Any]) -> Job:
        """The job for this answer, without `video_path`, of a run."""
        run_id = answer["run_id"]
        job = _job(run_id, wanted.video, wanted.video_path, wanted.settings, content=wanted.content)
        kept = self._kept(job, answer)
        self._by_content[job.content] = kept
        return kept

    def answer(self, job: Job) -> dict[str, Any] | None:
        """The answer that a job stands for; None if it is another kind of job."""
        found = self._by_id.get(job.id)
        return found[1] if found else None

    def find(self, job_id: str) -> Job | None:
        """A job by its id; if it is not in memory, from what its run has published.

        Raises:
            StorageError: the output cannot be reached.
        """
        if found := self._by_id.get(job_id):
            return found[0]
        if not (named := _ID.fullmatch(job_id)):
            return None
        run_id, video = named.groups()
        try:
            store = open_store(self._output)
            manifest = manifest_of(store, run_id)
            uris = read_table(store, "library", manifest, ["video_uri"])["video_uri"].to_pylist()
            uri = next(uri for uri in uris if _digest(uri) == video)
            settings = Settings.model_validate(manifest.settings)
            etag, answer = read_answer(self._output, run_id, settings, video_uri=uri)
        except (StorageError, StopIteration, ValueError) as error:
            if isinstance(error, StorageError) and error.retryable:
                raise
            return None  # no such run, no such video in it, or of a version whose settings were others
        path = uri.removeprefix("file://")
        return self._kept(_job(run_id, VideoRef(uri, etag, 0), path, settings, content=""), answer)

    def forget(self) -> None:
        """Keep nothing in memory."""
        self._by_id.clear()
        self._by_content.clear()

    def _kept(self, job: Job, answer: dict[str, Any]) -> Job:
        if len(self._by_id) >= MAX_ANSWERS:
            self.forget()
        self._by_id[job.id] = job, answer
        return job


def _job(run_id: str, video: VideoRef, video_path: str, settings: Settings, *, content: str) -> Job:
    when = datetime.strptime(run_id.partition("-")[0], RUN_ID_TIME).replace(tzinfo=UTC)
    job_id = f"{run_id}-{_digest(video.label)}"
    job = Job(job_id, video, video_path, settings, content, when, run_id=run_id)
    job.status, job.ended_at = Status.SUCCEEDED, when
    job.done.set_result(None)
    return job


def _digest(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:32]
