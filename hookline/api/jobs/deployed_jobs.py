"""Jobs that a deployment runs, wherever its workers are."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from hookline.api.contract.problems import Draining, QueueFull
from hookline.api.jobs.interface import Took, Wanted
from hookline.api.jobs.job import Job, Status
from hookline.api.jobs.metrics import Metrics
from hookline.api.jobs.outcome import Outcome
from hookline.api.jobs.prefect_runs import PrefectRuns, Refused
from hookline.api.jobs.recorded import DEATHS, MAX_DEATHS, REQUEST, deaths_of, labels_of, loaded
from tasks.run.labels import DETAIL, KIND, LIBRARY, PROGRESS, REASON, WHOLE

MAX_KNOWN = 10_000
"""Jobs that are listed."""

WAITING, ACTIVE = ("SCHEDULED", "PENDING"), ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")

LOOK_EVERY_S, IDLE_LOOK_EVERY_S, TALLY_EVERY_S = 1.0, 5.0, 10.0
"""How often the server is asked: while a job is watched here, while none is, and for numbers."""

LOST_AFTER_S = 30.0
"""A server that has not answered for so long is away."""

SETTLED_S = 10.0
"""A run, or its worker, says within this time after its end what came of it."""

CANCELED_WITHIN_S = 120.0
"""A worker that is there has ended a canceled run by then; nobody waits longer for one that is not."""

log = logging.getLogger("hookline.jobs")


class DeployedJobs:
    """The queue on a Prefect server, which any number of services share.

    Each knows the jobs of all of them. In memory are only those that somebody has asked for here: they are
    brought up to date until they are final.
    """

    def __init__(self, runs: PrefectRuns, metrics: Metrics, *, library: str, max_queued: int) -> None:
        self._runs, self._metrics = runs, metrics
        self._library, self._max_queued = library, max_queued
        self._held: dict[str, Job] = {}
        self._waiting: list[str] = []
        self._tally: Mapping[Status, int] = {}
        self._took, self._lock = Took(), threading.Lock()
        self._looked_at = self._tallied_at = -LOST_AFTER_S
        self._is_draining, self._is_over, self._wake = False, False, threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to follow the jobs.

        Raises:
            HooklineError: the server does not answer.
        """
        self.look()
        self._thread.start()

    def submit(self, wanted: Wanted, *, key: str = "") -> tuple[Job, bool]:
        if self._is_draining:
            raise Draining
        ours = f"key:{key}"
        if key and (before := self._readable(self._newest(ours))):
            return before, True
        content = f"content:{wanted.content}"
        newest = self._newest(content)
        there = self._readable(newest)
        if there and not there.is_canceling and (not there.is_final or _has_result(there)):
            return there, True
        waiting = self._runs.count(kinds=WAITING)
        if waiting >= self._max_queued:
            raise QueueFull(waiting, retry_after_s=self.retry_after_s())
        run = self._runs.create(
            {"settings": wanted.settings.model_dump(mode="json")},
            {**labels_of(wanted), LIBRARY: self._library},
            # Services that are asked for the same at once name the same one before it, and get the same run.
            key=f"{content}:{newest['id'] if newest else 'first'}",
            tags=[content, _by_path(wanted.video_path), *([ours] if key else [])],
        )
        return self._hold(run), run["labels"].get(REQUEST) != wanted.request_id

    def get(self, job_id: str) -> Job | None:
        try:
            run = self._runs.find(str(UUID(job_id)))
        except ValueError:
            return None
        return self._readable(run)

    def _newest(self, tag: str) -> dict[str, Any] | None:
        return next(self._runs.newest(1, tags=[tag]), None)

    def _readable(self, run: Mapping[str, Any] | None) -> Job | None:
        """The job of a run; None if there is none, or it is of a version of Hookline with other settings."""
        try:
            return self._hold(run) if run else None
        except ValidationError as error:
            log.warning("job %s is left out: %s", run and run["id"], error)
            return None

    def list(self, *, video_path: str | None = None) -> Iterator[Job]:
        tags = [] if video_path is None else [_by_path(video_path)]
        for run in self._runs.newest(MAX_KNOWN, tags=tags):
            if job := self._readable(run):
                yield job

    def tally(self) -> Mapping[Status, int]:
        return self._tally

    def position(self, job: Job) -> int | None:
        waiting = self._waiting
        return waiting.index(job.id) + 1 if job.id in waiting else None

    def retry_after_s(self, job: Job | None = None) -> int:
        return self._took.retry_after_s(ahead=(self.position(job) or 0) if job else len(self._waiting))

    def cancel(self, job: Job) -> None:
        self._update(job, self._runs.read(job.id))
        if job.is_final or job.is_canceling:
            return
        # Never straight to CANCELLED: the worker would not hear of it, and go on.
        self._runs.set_state(job.id, "CANCELLING", "Cancelling")
        self._update(job, self._runs.read(job.id))

    def lose(self, job: Job) -> None:
        job.is_whole = False
        self._runs.note(job.id, {WHOLE: "no"})

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    @property
    def is_connected(self) -> bool:
        return time.monotonic() - self._looked_at < LOST_AFTER_S

    def close(self, *, within_s: float) -> None:
        """Follow the jobs that callers wait for so long; they themselves go on without this service."""
        self._is_draining, ends_at = True, time.monotonic() + within_s
        while not self._is_over and self._follows() and time.monotonic() < ends_at:
            time.sleep(LOOK_EVERY_S / 2)
        self._is_over = True
        self._wake.set()
        self._thread.join()

    def _follows(self) -> bool:
        jobs = [*self._held.values()]
        return self.is_connected and any(job.waiting and job.status == Status.RUNNING for job in jobs)

    def _keep_looking(self) -> None:
        while not self._is_over:
            self._wake.wait(LOOK_EVERY_S if self._held else IDLE_LOOK_EVERY_S)
            self._wake.clear()
            try:
                self.look()
            except Exception as error:  # it is asked again
                log.warning("the Prefect server cannot be asked about jobs: %s", error)

    def look(self) -> None:
        """Bring up to date what is known of jobs, and take up again those whose worker died.

        Raises:
            HooklineError: the server does not answer.
        """
        active = [*self._runs.newest(MAX_KNOWN, kinds=ACTIVE)]
        self._waiting = [run["id"] for run in reversed(active) if run["state_type"] in WAITING]
        runs = {run["id"]: run for run in active}
        for job in [*self._held.values()]:
            try:
                self._update(job, runs.get(job.id) or self._runs.read(job.id))
            except Refused as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                self._deleted(job)
        for run in active:
            self._end_canceled(run)
        for run in [*self._runs.newest(MAX_KNOWN, kinds=("CRASHED",))]:
            self._take_up(run)
        if time.monotonic() - self._tallied_at >= TALLY_EVERY_S:
            ended = {"COMPLETED": Status.SUCCEEDED, "FAILED": Status.FAILED, "CANCELLED": Status.CANCELED}
            self._tally = {
                Status.QUEUED: len(self._waiting),
                Status.RUNNING: len(active) - len(self._waiting),
                **{status: self._runs.count(kinds=[kind]) for kind, status in ended.items()},
            }
            self._tallied_at = time.monotonic()
        self._looked_at = time.monotonic()

    def _end_canceled(self, run: Mapping[str, Any]) -> None:
        """End a run whose worker was told to, and has not done it: it is not there any more."""
        if run["state_type"] != "CANCELLING" or age_s(run["state"]) < CANCELED_WITHIN_S:
            return
        self._runs.set_state(run["id"], "CANCELLED", "Cancelled", force=True)
        log.warning("job %s is canceled: its worker is gone", run["id"])

    def _take_up(self, run: Mapping[str, Any]) -> None:
        """Have a run that lost its worker wait again, or end, unless another service has meanwhile.

        Not at once: a worker reports the death of a process twice, some seconds apart.
        """
        if age_s(run["state"]) < SETTLED_S:
            return
        now = self._runs.find(job_id := run["id"])
        if now is None or now["state_id"] != run["state_id"]:
            return
        deaths = deaths_of(now, self._runs.began(job_id) or now["state_id"])
        why = Outcome.crashed(len(deaths)) if len(deaths) >= MAX_DEATHS else Outcome()
        noted = {DEATHS: " ".join(deaths), PROGRESS: ""}
        self._runs.note(job_id, noted | {REASON: why.reason, KIND: why.kind, DETAIL: why.detail})
        if why.reason:
            self._runs.set_state(job_id, "FAILED", "Failed", message=why.detail, force=True)
        else:
            self._runs.set_state(job_id, "SCHEDULED", "AwaitingRetry", force=True)
            log.info("job %s has lost its worker: it waits again", job_id)

    def _deleted(self, job: Job) -> None:
        """Somebody has removed the run of a job from the server."""
        with self._lock:
            self._held.pop(job.id, None)
            if job.is_final:
                return
            job.status, job.ended_at = Status.CANCELED, datetime.now(UTC)
            self._metrics.job_ended(job)
        job.done.set_result(None)
        log.warning("job %s is canceled: its run was deleted", job.id)

    def _hold(self, run: Mapping[str, Any]) -> Job:
        """The job of a run, the same one for all who ask for it here, as the run has it now."""
        with self._lock:
            job = self._held.get(run["id"])
            if is_new := job is None:
                job = self._held[run["id"]] = loaded(run)
                job.status = Status.QUEUED
        self._update(job, run, is_news=not is_new)
        if is_new and not job.is_final:
            self._wake.set()
        return job

    def _update(self, job: Job, run: Mapping[str, Any], *, is_news: bool = True) -> None:
        now = loaded(run)
        settle(now, run)
        with self._lock:
            job.is_whole = now.is_whole
            if job.is_final:
                return
            job.started_at, job.ended_at, job.run_id = now.started_at, now.ended_at, now.run_id
            job.reason, job.kind, job.detail = now.reason, now.kind, now.detail
            job.is_canceling = run["state_type"] == "CANCELLING"
            job.progress.restore(run["labels"].get(PROGRESS, ""))
            job.status = now.status
            if not job.is_final:
                return
            self._held.pop(job.id, None)
            if is_news:
                self._metrics.job_ended(job)
                if job.status == Status.SUCCEEDED and job.started_at and job.ended_at:
                    self._took.add((job.ended_at - job.started_at).total_seconds())
        job.done.set_result(None)


def settle(job: Job, run: Mapping[str, Any]) -> None:
    """Give a job the status that the state of its run means, and a reason if nobody has noted one."""
    kind = run["state_type"]
    if kind in ("RUNNING", "CANCELLING"):
        job.status = Status.RUNNING
    elif kind == "CANCELLED":
        job.status = Status.CANCELED
    elif kind not in ("COMPLETED", "FAILED"):  # one that crashed is taken up again
        job.status = Status.QUEUED
    elif job.status == Status.QUEUED:  # ended, but without a note
        job.status = Status.FAILED if age_s(run["state"]) >= SETTLED_S else Status.RUNNING
        job.reason, job.kind = "unexpected", "failed"
        job.detail = "The job ended without saying what came of it: see the log of its run."


def age_s(state: Mapping[str, Any]) -> float:
    """For how long a run has been in this state, by the clock of this machine."""
    return time.time() - datetime.fromisoformat(state["timestamp"]).timestamp()


def _has_result(job: Job) -> bool:
    return job.status == Status.SUCCEEDED and job.is_whole


def _by_path(video_path: str) -> str:
    return f"path:{hashlib.sha256(video_path.encode(errors='surrogatepass')).hexdigest()}"
