"""What the routes ask: which job a request wants, and the answer to it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from hookline.api.access.callers import Access
from hookline.api.access.keys import Keys
from hookline.api.access.places import Places
from hookline.api.contract.problems import Problem
from hookline.api.contract.settings import Serve
from hookline.api.jobs.interface import Jobs, Wanted
from hookline.api.jobs.job import Job, Status
from hookline.api.jobs.machine import Machine
from hookline.api.jobs.metrics import Metrics
from hookline.api.service.answers import read_answer
from hookline.api.service.cards import read_cards
from hookline.api.service.known import Known
from hookline.api.service.known_jobs import KnownJobs
from hookline.api.service.models import Ask
from hookline.api.service.views import problem_of
from hookline.api.webhooks.webhooks import Webhooks
from tasks.core.errors import HooklineError, StorageError
from tasks.core.settings import Settings
from tasks.run.run import find_models
from tasks.work.spec import RunSpec

OUTPUT = "jobs"
"""Where under the output the runs of jobs publish: readers of the nightly ranking look elsewhere."""

MAX_ANSWERS = 10_000
"""Answers of jobs that are kept in memory."""

MAX_SPECS = 1000

MODELS_HOLD_S = 60.0
"""For so long nobody looks whether a head or a model is another one by now, or a missing one there."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `settings` are those that a request may change a few of.

    `specs` are the runs that requests have asked for, by their parameters, and when they were looked for.
    """

    serve: Serve
    settings: Settings
    jobs: Jobs
    places: Places
    machine: Machine
    keys: Keys
    known: Known
    known_jobs: KnownJobs
    metrics: Metrics
    access: Access
    webhooks: Webhooks
    specs: dict[tuple[int | None, ...], tuple[float, RunSpec]] = field(default_factory=dict)

    def submit(self, ask: Ask, *, key: str | None, request_id: str, caller: str) -> tuple[Job, bool]:
        """The job that a request wants, and whether it was there already: the same `key` gives the same job.

        Raises:
            Problem: there is none, and none can be made.
        """
        run_key, known = "", None
        if key is not None:
            run_key, known = self.keys.claim(key, caller=caller, body=ask.model_dump_json().encode())
        if known and (job := self.job(known)):
            joined = True
        else:
            if ask.webhook_url:
                self.webhooks.check(ask.webhook_url)
            job, joined = self._job(*self._wanted(ask, request_id=request_id), key=run_key)
            if run_key:
                self.keys.keep(run_key, job.id)
        if ask.webhook_url:
            self.webhooks.promise(ask.webhook_url, job, key=run_key)
        return job, joined

    def _job(self, wanted: Wanted, spec: RunSpec, *, key: str) -> tuple[Job, bool]:
        job = self.known_jobs.get(wanted.content)
        if job is None and (found := self.known.find(wanted.video, spec)):
            job = self.known_jobs.keep(wanted, found)
        if job is None:
            return self.jobs.submit(wanted, key=key)
        self.metrics.known.inc()
        return job, True

    def job(self, job_id: str) -> Job | None:
        """A job by its id, also one that stands for what was known without one.

        Raises:
            HooklineError: it cannot be looked up now.
        """
        return self.known_jobs.find(job_id) or self.jobs.get(job_id)

    def _wanted(self, ask: Ask, *, request_id: str) -> tuple[Wanted, RunSpec]:
        """What a request asks for.

        Raises:
            Problem: the video is not there or not allowed, a parameter is wrong, or a model is missing.
        """
        video = self.places.video(ask.video_path)
        spec = self._spec(ask.top_n, ask.window_seconds, ask.stride_seconds)
        output = f"{self.settings.output.rstrip('/')}/{OUTPUT}"
        settings = spec.settings.model_copy(update={"source": video.uri, "output": output})
        deciding = [video.uri, video.etag, asdict(spec.digests), dict(spec.stamp.models)]
        content = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
        return Wanted(ask.video_path, video, settings, content, request_id), spec

    def answer(self, job: Job, *, video_path: str) -> dict[str, Any]:
        """The result of a job, for a request that named its video so.

        Raises:
            Problem: it has none, or none any more.
        """
        if job.status == Status.CANCELED:
            raise Problem(410, "canceled", "The job was canceled.")
        if job.status == Status.FAILED:
            raise problem_of(job, self.places)
        if job.status != Status.SUCCEEDED:
            wait = self.jobs.retry_after_s(job)
            raise Problem(409, "not_finished", f"The job is {job.status}.", retry_after_s=wait)
        if answer := self.known_jobs.answer(job):
            return {"video_path": video_path, **answer}
        try:
            return {"video_path": video_path, **_published(job)}
        except Problem as problem:
            if problem.status in (409, 410):
                self.jobs.lose(job)
            raise

    def cards(self, job: Job) -> str:
        """The ranking of a job as HTML, with its pictures.

        Raises:
            Problem: it has none, or none any more.
        """
        run_id = self.answer(job, video_path=job.video_path)["run_id"]
        output = (self.settings if self.known_jobs.answer(job) else job.settings).output
        try:
            return read_cards(output, run_id, video_uri=job.video.label, video_path=job.video_path)
        except StorageError as error:
            raise _unreadable(error) from error

    def _spec(self, top_n: int | None, window_seconds: int | None, stride_seconds: int | None) -> RunSpec:
        """The run that these parameters ask for."""
        parameters = (top_n, window_seconds, stride_seconds)
        found_at, spec = self.specs.get(parameters, (0.0, None))
        if spec and time.monotonic() - found_at < MODELS_HOLD_S:
            return spec
        try:
            with _finding:  # models are looked for, or downloaded, once
                settings = changed(self.settings, *parameters)
                spec = self.machine.identified(find_models(settings, run_id="", started_at=datetime.now(UTC)))
        except ValidationError as error:
            raise Problem(422, "invalid_parameter", "These parameters do not go together.") from error
        except HooklineError as error:
            detail, reason = self.places.redacted(str(error)), getattr(error, "reason", "model_unavailable")
            raise Problem(503, reason, detail, retry_after_s=60) from error
        if len(self.specs) >= MAX_SPECS:
            self.specs.clear()
        self.specs[parameters] = time.monotonic(), spec
        return spec


def changed(
    settings: Settings, top_n: int | None, window_seconds: int | None, stride_seconds: int | None
) -> Settings:
    """The settings with what a request asks for.

    Raises:
        ValidationError: they do not go together.
    """
    groups = settings.model_dump(mode="json")
    if top_n is not None:
        groups["ranking"]["top_n"] = top_n
    if window_seconds is not None:
        groups["windows"]["window_seconds"] = [window_seconds]
    if stride_seconds is not None:
        groups["windows"]["stride_seconds"] = stride_seconds
    return Settings.model_validate(groups)


_finding = threading.Lock()


def _published(job: Job) -> dict[str, Any]:
    try:
        etag, published = _read(job.settings, job.run_id, job.video.label)
    except (StorageError, ValueError) as error:
        raise _unreadable(error) from error
    if etag != job.video.etag:
        raise Problem(409, "changed", "The video was replaced before the job began: ask again.")
    return published


def _unreadable(error: Exception) -> Problem:
    if isinstance(error, StorageError) and error.retryable:
        return Problem(503, error.reason, "The result cannot be read now.", retry_after_s=10)
    return Problem(410, "gone", "The result of this job is not there any more.")


@lru_cache(maxsize=MAX_ANSWERS)
def _read(settings: Settings, run_id: str, video_uri: str) -> tuple[str, dict[str, Any]]:
    return read_answer(settings.output, run_id, settings, video_uri=video_uri)
