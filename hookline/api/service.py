"""What the routes ask: which job a request wants, and the answer to it."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from hookline.api.answers import read_answer
from hookline.api.job import Job, Status
from hookline.api.jobs import Jobs, Wanted
from hookline.api.keys import Keys
from hookline.api.machine import Machine
from hookline.api.models import Ask
from hookline.api.places import Places
from hookline.api.problems import Problem, of_failure
from hookline.api.settings import Serve
from tasks.core.errors import HooklineError, ModelError, StorageError
from tasks.core.settings import Settings
from tasks.run.run import find_models
from tasks.work.spec import RunSpec

OUTPUT = "jobs"
"""Where under the output the runs of jobs publish: readers of the nightly ranking look elsewhere."""

MAX_ANSWERS = 10_000
"""Answers of jobs that are kept in memory."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `settings` are those that a request may change a few of."""

    serve: Serve
    settings: Settings
    jobs: Jobs
    places: Places
    machine: Machine
    keys: Keys

    def submit(self, ask: Ask, *, key: str | None, request_id: str, caller: str = "") -> tuple[Job, bool]:
        """The job that a request wants, and whether it was there already: the same `key` gives the same job.

        Raises:
            Problem: there is none, and none can be made.
        """
        if key is None:
            return self.jobs.submit(self.wanted(ask, request_id=request_id))
        run_key, known = self.keys.claim(key, caller=caller, body=ask.model_dump_json().encode())
        if known and (job := self.jobs.get(known)):
            return job, True
        job, joined = self.jobs.submit(self.wanted(ask, request_id=request_id), key=run_key)
        self.keys.keep(run_key, job.id)
        return job, joined

    def wanted(self, ask: Ask, *, request_id: str) -> Wanted:
        """What a request asks for.

        Raises:
            Problem: the video is not there or not allowed, a parameter is wrong, or a model is missing.
        """
        video = self.places.video(ask.video_path)
        settings = self._settings(ask, source=video.uri)
        spec = self._spec(settings.model_copy(update={"source": self.settings.source}))
        deciding = [video.uri, video.etag, asdict(spec.digests), dict(spec.stamp.models)]
        content = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
        return Wanted(ask.video_path, video, settings, content, request_id)

    def answer(self, job: Job, *, video_path: str) -> dict[str, Any]:
        """The result of a job, for a request that named its video so.

        Raises:
            Problem: it has none, or none any more.
        """
        if job.status == Status.CANCELED:
            raise Problem(410, "canceled", "The job was canceled.")
        if job.status == Status.FAILED:
            raise self.problem(job)
        if job.status != Status.SUCCEEDED:
            wait = self.jobs.retry_after_s(job)
            raise Problem(409, "not_finished", f"The job is {job.status}.", retry_after_s=wait)
        return {"video_path": video_path, **_published(job)}

    def problem(self, job: Job) -> Problem:
        """Why a job failed."""
        return of_failure(job.reason, job.kind, self.places.redacted(job.detail))

    def _settings(self, ask: Ask, *, source: str) -> Settings:
        settings = self.settings.model_dump(mode="json")
        settings |= {"source": source, "output": f"{self.settings.output.rstrip('/')}/{OUTPUT}"}
        if ask.top_n is not None:
            settings["ranking"]["top_n"] = ask.top_n
        if ask.window_seconds is not None:
            settings["windows"]["window_seconds"] = [ask.window_seconds]
        if ask.stride_seconds is not None:
            settings["windows"]["stride_seconds"] = ask.stride_seconds
        try:
            return Settings.model_validate(settings)
        except ValidationError as error:
            raise Problem(422, "invalid_parameter", "These parameters do not go together.") from error

    def _spec(self, settings: Settings) -> RunSpec:
        try:
            with _finding:  # models are looked for, or downloaded, once
                return self.machine.identified(_found(settings))
        except ModelError as error:
            raise Problem(503, error.reason, self.places.redacted(str(error)), retry_after_s=60) from error
        except HooklineError as error:
            detail = self.places.redacted(str(error))
            raise Problem(503, "model_unavailable", detail, retry_after_s=60) from error


_finding = threading.Lock()


@lru_cache(maxsize=256)
def _found(settings: Settings) -> RunSpec:
    return find_models(settings, run_id="", started_at=datetime.now(UTC))


def _published(job: Job) -> dict[str, Any]:
    try:
        return _read(job.settings, job.run_id, job.video.label)
    except (StorageError, ValueError) as error:
        if isinstance(error, StorageError) and error.retryable:
            raise Problem(503, error.reason, "The result cannot be read now.", retry_after_s=10) from error
        raise Problem(410, "gone", "The result of this job is not there any more.") from error


@lru_cache(maxsize=MAX_ANSWERS)
def _read(settings: Settings, run_id: str, video_uri: str) -> dict[str, Any]:
    return read_answer(settings.output, run_id, settings, video_uri=video_uri)
