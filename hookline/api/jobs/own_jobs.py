"""Jobs that this process runs itself: one after the other, each a flow run of its own Prefect server.

The server's database is the queue, and what survives: a job is accepted when its run is there.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from pydantic import ValidationError

from hookline.api.contract.problems import Draining, QueueFull
from hookline.api.contract.request_id import current_request
from hookline.api.jobs.interface import Wanted
from hookline.api.jobs.job import Job, Status
from hookline.api.jobs.machine import Machine
from hookline.api.jobs.metrics import Metrics
from hookline.api.jobs.outcome import Outcome, outcome_of
from hookline.api.jobs.prefect_runs import PrefectRuns
from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.run.host import Host, current_host
from tasks.run.progress import current_progress

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

MAX_KNOWN = 10_000
"""Jobs that can be asked for, also after a restart; older ones are forgotten."""

MAX_ATTEMPTS = 3
"""A job under which the service has died so often fails."""

MAX_TIMED = 20

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
"""States of runs that have."""

log = logging.getLogger("hookline.jobs")


class OwnJobs:
    """The queue and the one thread that works on it.

    One, because models compute one at a time anyway, and SQLite has one writer at a time.
    """

    def __init__(
        self, runs: PrefectRuns, machine: Machine, metrics: Metrics, *, library: str, max_queued: int
    ) -> None:
        self._runs, self._machine, self._metrics = runs, machine, metrics
        self._library, self._max_queued = library, max_queued
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._by_content: dict[str, Job] = {}
        self._took_s: deque[float] = deque(maxlen=MAX_TIMED)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._is_draining, self._handing_back = False, False
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._work,), name="jobs", daemon=True
        )

    def start(self) -> None:
        """Take up what is there, also what a dead process left half done, and begin to work."""
        for run in reversed(list(self._runs.newest(MAX_KNOWN))):
            try:
                job = loaded(run)
            except ValidationError as error:  # of another version of Hookline
                log.warning("job %s is left out: %s", run["id"], error)
                if run["state_type"] not in ENDED:
                    self._runs.set_state(run["id"], "FAILED", "Failed", message=str(error), force=True)
                continue
            self._take_up(job, run)
            self._jobs[job.id] = job
            if job.status == Status.QUEUED:
                self._queue.append(job)
            if job.status == Status.QUEUED or (job.status == Status.SUCCEEDED and job.is_whole):
                self._by_content[job.content] = job
        self._thread.start()

    def _take_up(self, job: Job, run: Mapping[str, Any]) -> None:
        kind = run["state_type"]
        if kind == "CANCELLING":
            self._runs.set_state(job.id, "CANCELLED", "Cancelled", force=True)
        elif job.status == Status.QUEUED and kind != "SCHEDULED":
            if run["run_count"] >= MAX_ATTEMPTS:
                self._fail(job, Outcome.crashed(run["run_count"]))
            else:
                self._runs.set_state(job.id, "SCHEDULED", "AwaitingRetry", force=True)
                log.info("job %s was under way when the service ended: it waits again", job.id)
        if job.is_final and not job.done.done():
            job.done.set_result(None)

    def submit(self, wanted: Wanted, *, key: str = "") -> tuple[Job, bool]:
        with self._lock:
            if self._is_draining:
                raise Draining
            if there := self._by_content.get(wanted.content):
                return there, True
            if len(self._queue) >= self._max_queued:
                raise QueueFull(len(self._queue), retry_after_s=self.retry_after_s())
            labels = {
                "hookline.video_path": wanted.video_path,
                "hookline.video_etag": wanted.video.etag,
                "hookline.content": wanted.content,
                "hookline.request": wanted.request_id,
            }
            parameters = {"settings": wanted.settings.model_dump(mode="json")}
            run = self._runs.create(parameters, labels, key=f"job:{key or uuid4().hex}")
            if known := self._jobs.get(run["id"]):
                return known, True
            job = self._jobs[run["id"]] = loaded(run)
            if job.is_final:  # of an earlier request with this key, and forgotten since
                job.done.set_result(None)
                return job, True
            job.video = wanted.video
            self._queue.append(job)
            self._by_content[job.content] = job
            self._forget()
            self._changed.notify_all()
        log.info("job %s queued", job.id)
        return job, False

    def _forget(self) -> None:
        surplus = max(0, len(self._jobs) - MAX_KNOWN)
        for old in [job for job in self._jobs.values() if job.is_final][:surplus]:
            del self._jobs[old.id]
            self._release(old)

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def list(self) -> Sequence[Job]:
        return [*reversed(list(self._jobs.values()))]

    def position(self, job: Job) -> int | None:
        with self._lock:
            return self._queue.index(job) + 1 if job in self._queue else None

    def retry_after_s(self, job: Job | None = None) -> int:
        with self._lock:
            each_s = median(self._took_s) if self._took_s else 10.0
            ahead = self.position(job) if job else len(self._queue)
        return round(min(max(each_s * ((ahead or 0) + 1), 1), 300))

    def cancel(self, job: Job) -> None:
        with self._lock:
            if job.is_final or job.is_canceling:
                return
            # Never straight to CANCELLED: a run that goes on would overwrite it.
            self._runs.set_state(job.id, "CANCELLING", "Cancelling")
            job.is_canceling = True
            self._release(job)  # who asks for the same now wants it
            if job in self._queue:
                self._queue.remove(job)
                self._runs.set_state(job.id, "CANCELLED", "Cancelled", force=True)
                self._end(job, Status.CANCELED)
            elif job.host:
                self._machine.stop(job.host)

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def close(self, *, within_s: float) -> None:
        with self._lock:
            self._is_draining = True
            self._changed.notify_all()
        self._thread.join(within_s)
        with self._lock:
            self._handing_back = True
            for job in self._jobs.values():
                if job.host:
                    self._machine.stop(job.host)
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_draining)
                if self._is_draining:
                    return
                job = self._queue.popleft()
            try:
                job.host = Host(self._machine.workers(), library=self._library)
                copy_context().run(self._run, job, job.host)
                self._machine.look()
            except Exception as error:
                log.exception("job %s could not be run", job.id)
                self._give_up(job, error)
            job.host = None

    def _run(self, job: Job, host: Host) -> None:
        from prefect.flow_engine import run_flow

        from flows.rank_videos import rank_videos

        flow_run = self._runs.claim(job.id)
        if flow_run is None or job.is_canceling:
            self._runs.set_state(job.id, "CANCELLED", "Cancelled", force=True)
            self._end(job, Status.CANCELED)
            return
        current_request.set(job.request_id)
        current_host.set(host)
        current_progress.set(job.progress)
        job.status, job.started_at = Status.RUNNING, datetime.now(UTC)
        log.info("job %s begins", job.id)
        state, error = None, None
        try:
            state = cast("State[Any]", run_flow(rank_videos, flow_run=flow_run, return_type="state"))
        except BaseException as raised:  # RunEnded among them; the thread goes on with the next job
            error = raised
        if job.is_canceling:
            self._runs.set_state(job.id, "CANCELLED", "Cancelled", force=True)
            self._end(job, Status.CANCELED)
        elif self._handing_back and (error or state is None):
            self._runs.set_state(job.id, "SCHEDULED", "AwaitingRetry", force=True)
            job.status = Status.QUEUED
            log.info("job %s waits again: the service is being stopped", job.id)
        else:
            self._settle(job, outcome_of(state, error, job.settings.output))

    def _settle(self, job: Job, outcome: Outcome) -> None:
        if outcome.manifest:
            self._metrics.run_ended(outcome.manifest)
        if outcome.reason:
            self._fail(job, outcome)
            return
        job.run_id, job.is_whole = outcome.run_id, outcome.is_whole
        whole = "yes" if outcome.is_whole else "no"
        self._runs.note(job.id, {"hookline.run_id": outcome.run_id, "hookline.whole": whole})
        self._end(job, Status.SUCCEEDED)

    def _fail(self, job: Job, outcome: Outcome) -> None:
        """The run of a job that failed need not have: it may have raised before it began."""
        job.run_id, job.reason, job.kind, job.detail = outcome[:4]
        about = {"run_id": job.run_id, "reason": job.reason, "kind": job.kind, "detail": job.detail}
        self._runs.note(job.id, {f"hookline.{name}": value for name, value in about.items()})
        if self._runs.read(job.id)["state_type"] not in ENDED:
            self._runs.set_state(job.id, "FAILED", "Failed", message=outcome.detail, force=True)
        self._end(job, Status.FAILED)

    def _give_up(self, job: Job, error: Exception) -> None:
        """End a job whatever the Prefect server says: the thread goes on with the next one."""
        if job.is_final:
            return
        try:
            self._fail(job, Outcome.unexpected(error))
        except Exception:  # in the database it waits, and is taken up at the next start
            log.exception("what became of job %s could not be noted", job.id)
            self._end(job, Status.FAILED)

    def lose(self, job: Job) -> None:
        with self._lock:
            job.is_whole = False
            self._release(job)
        self._runs.note(job.id, {"hookline.whole": "no"})

    def _release(self, job: Job) -> None:
        if self._by_content.get(job.content) is job:
            del self._by_content[job.content]

    def _end(self, job: Job, status: Status) -> None:
        with self._lock:
            job.ended_at = datetime.now(UTC)
            if job.started_at and status == Status.SUCCEEDED:
                self._took_s.append((job.ended_at - job.started_at).total_seconds())
            if not (status == Status.SUCCEEDED and job.is_whole):
                self._release(job)
            job.status = status
        self._metrics.job_ended(job)
        job.done.set_result(None)
        log.info("job %s %s", job.id, " ".join(filter(None, [status, job.reason])))


def loaded(run: Mapping[str, Any]) -> Job:
    """A job as its run tells it: without a note of what came of it, it is still to be done."""
    labels, settings = run["labels"], Settings.model_validate(run["parameters"]["settings"])
    status = Status.QUEUED
    if run["state_type"] in ("CANCELLED", "CANCELLING"):
        status = Status.CANCELED
    elif labels.get("hookline.reason", ""):
        status = Status.FAILED
    elif labels.get("hookline.run_id"):
        status = Status.SUCCEEDED
    return Job(
        id=run["id"],
        video=VideoRef(settings.source, labels.get("hookline.video_etag", ""), 0),
        video_path=labels.get("hookline.video_path", ""),
        settings=settings,
        content=labels.get("hookline.content", ""),
        created_at=datetime.fromisoformat(run["created"]),
        request_id=labels.get("hookline.request", ""),
        status=status,
        started_at=_time(run["start_time"]),
        ended_at=_time(run["end_time"]),
        run_id=labels.get("hookline.run_id", ""),
        reason=labels.get("hookline.reason", ""),
        kind=labels.get("hookline.kind", ""),
        detail=labels.get("hookline.detail", ""),
        is_whole=labels.get("hookline.whole") != "no",
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
