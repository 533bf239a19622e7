"""Jobs that this process runs itself: one after the other, each a flow run of its own Prefect server.

The server's database is the queue, and what survives: a job is accepted when its run is there.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from pydantic import ValidationError

from hookline.api.contract.problems import Draining, QueueFull
from hookline.api.contract.request_id import current_request
from hookline.api.jobs.interface import Server, Took, Wanted
from hookline.api.jobs.job import Job, Status
from hookline.api.jobs.machine import Machine
from hookline.api.jobs.metrics import Metrics
from hookline.api.jobs.outcome import Outcome, outcome_of
from hookline.api.jobs.prefect_runs import PrefectRuns
from hookline.api.jobs.recorded import DEATHS, MAX_DEATHS, deaths_of, labels_of, loaded
from tasks.core.errors import HooklineError
from tasks.run.host import Host, current_host
from tasks.run.labels import DETAIL, KIND, REASON, RUN_ID, WHOLE
from tasks.run.progress import current_progress

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

MAX_KNOWN = 10_000
"""Jobs that can be asked for, also after a restart; older ones are forgotten."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
"""States of runs that have."""

log = logging.getLogger("hookline.jobs")


class OwnJobs:
    """The queue and the one thread that works on it.

    One, because models compute one at a time anyway, and SQLite has one writer at a time. All that callers
    look at is in memory: `_lock` is never held while the Prefect server is asked.
    """

    def __init__(
        self,
        runs: PrefectRuns,
        machine: Machine,
        metrics: Metrics,
        *,
        library: str,
        max_queued: int,
        server: Server | None = None,
    ) -> None:
        self._runs, self._machine, self._metrics = runs, machine, metrics
        self._library, self._max_queued, self._server = library, max_queued, server
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._by_content: dict[str, Job] = {}
        self._took = Took()
        self._creating, self._lock = threading.Lock(), threading.Lock()
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
            # What was handed back in good order waits as SCHEDULED: this one lost its process.
            deaths = deaths_of(run, run["state_id"])
            self._runs.note(job.id, {DEATHS: " ".join(deaths)})
            if len(deaths) >= MAX_DEATHS:
                self._fail(job, Outcome.crashed(len(deaths)))
            else:
                self._runs.set_state(job.id, "SCHEDULED", "AwaitingRetry", force=True)
                log.info("job %s was under way when the service ended: it waits again", job.id)
        if job.is_final and not job.done.done():
            job.done.set_result(None)

    def submit(self, wanted: Wanted, *, key: str = "") -> tuple[Job, bool]:
        if there := self._joinable(wanted.content):
            return there, True
        with self._creating:  # who wants the same waits for the first, and then joins it
            if there := self._joinable(wanted.content):
                return there, True
            with self._lock:
                waiting = len(self._queue)
            if waiting >= self._max_queued:
                raise QueueFull(waiting, retry_after_s=self.retry_after_s())
            parameters = {"settings": wanted.settings.model_dump(mode="json")}
            run = self._runs.create(parameters, labels_of(wanted), key=f"job:{key or uuid4().hex}")
            return self._accept(loaded(run), wanted)

    def _joinable(self, content: str) -> Job | None:
        with self._lock:
            if self._is_draining:
                raise Draining
            return self._by_content.get(content)

    def _accept(self, job: Job, wanted: Wanted) -> tuple[Job, bool]:
        with self._lock:
            if known := self._jobs.get(job.id):
                return known, True
            self._jobs[job.id] = job
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

    def list(self, *, video_path: str | None = None) -> Sequence[Job]:
        with self._lock:
            known = [*reversed(self._jobs.values())]
        return [job for job in known if video_path in (None, job.video_path)]

    def tally(self) -> Mapping[Status, int]:
        return Counter(job.status for job in self.list())

    def position(self, job: Job) -> int | None:
        with self._lock:
            return self._queue.index(job) + 1 if job in self._queue else None

    def retry_after_s(self, job: Job | None = None) -> int:
        with self._lock:
            waiting = len(self._queue)
        return self._took.retry_after_s(ahead=(self.position(job) or 0) if job else waiting)

    def cancel(self, job: Job) -> None:
        with self._lock:
            if job.is_final or job.is_canceling:
                return
            job.is_canceling = True
            self._release(job)  # who asks for the same now wants it
            if waits := job in self._queue:
                self._queue.remove(job)
        try:
            # Never straight to CANCELLED: a run that goes on would overwrite it.
            self._runs.set_state(job.id, "CANCELLING", "Cancelling")
        except HooklineError:  # after a restart nobody would know
            self._take_back(job, waits=waits)
            raise
        if waits:
            self._runs.set_state(job.id, "CANCELLED", "Cancelled", force=True)
            self._end(job, Status.CANCELED)
        elif host := job.host:
            self._machine.stop(host)

    def _take_back(self, job: Job, *, waits: bool) -> None:
        with self._lock:
            job.is_canceling = False
            self._by_content.setdefault(job.content, job)
            if waits:
                self._queue.appendleft(job)
                self._changed.notify_all()

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    @property
    def is_connected(self) -> bool:
        return self._server is None or self._server.is_up

    def close(self, *, within_s: float) -> None:
        with self._lock:
            self._is_draining = True
            self._changed.notify_all()
        self._thread.join(within_s)
        with self._lock:
            self._handing_back = True
            under_way = [job.host for job in self._jobs.values() if job.host]
        for host in under_way:
            self._machine.stop(host)
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_draining)
                if self._is_draining:
                    return
                job = self._queue.popleft()
            try:
                host = Host(self._machine.workers(), library=self._library)
                with self._lock:
                    job.host = host
                    if self._handing_back or job.is_canceling:  # since it was taken from the queue
                        host.stop()
                copy_context().run(self._run, job, host)
            except Exception as error:
                log.exception("job %s could not be run", job.id)
                self._give_up(job, error)
            job.host = None
            if not self._handing_back:
                self._look_at_workers()

    def _look_at_workers(self) -> None:
        try:
            self._machine.look()
        except Exception:  # the next job is told, if they are still gone then
            log.exception("the workers cannot be looked at")

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
        state, error, outages = None, None, self._outages
        try:
            state = cast("State[Any]", run_flow(rank_videos, flow_run=flow_run, return_type="state"))
        except BaseException as raised:  # RunEnded among them; the thread goes on with the next job
            error = raised
        if job.is_canceling:
            self._runs.set_state(job.id, "CANCELLED", "Cancelled", force=True)
            self._end(job, Status.CANCELED)
        elif error and self._handing_back:
            self._wait_again(job)
        else:
            outcome = outcome_of(state, error, job.settings.output)
            if outcome.reason == "unexpected" and self._outages != outages:
                self._wait_again(job)
            else:
                self._settle(job, outcome)

    @property
    def _outages(self) -> int:
        return self._server.outages if self._server else 0

    def _wait_again(self, job: Job) -> None:
        """Hand a job back: it was the service that ended, or its Prefect server, in the middle of it."""
        self._runs.set_state(job.id, "SCHEDULED", "AwaitingRetry", force=True)
        with self._lock:
            job.status, job.host = Status.QUEUED, None
            self._queue.appendleft(job)
        log.info("job %s waits again: it was interrupted", job.id)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        if outcome.manifest:
            self._metrics.runs.add(outcome.manifest)
        if outcome.reason:
            self._fail(job, outcome)
            return
        job.run_id, job.is_whole = outcome.run_id, outcome.is_whole
        whole = "yes" if outcome.is_whole else "no"
        self._runs.note(job.id, {RUN_ID: outcome.run_id, WHOLE: whole})
        self._end(job, Status.SUCCEEDED)

    def _fail(self, job: Job, outcome: Outcome) -> None:
        """The run of a job that failed need not have: it may have raised before it began."""
        job.run_id, job.reason, job.kind, job.detail = outcome[:4]
        why = {RUN_ID: job.run_id, REASON: job.reason, KIND: job.kind, DETAIL: job.detail}
        self._runs.note(job.id, why)
        if self._runs.read(job.id)["state_type"] not in ENDED:
            self._runs.set_state(job.id, "FAILED", "Failed", message=outcome.detail, force=True)
        self._end(job, Status.FAILED)

    def _give_up(self, job: Job, error: Exception) -> None:
        """End a job whatever the Prefect server says: the thread goes on with the next one."""
        if job.is_final or (self._server and self._server.is_lost):
            return  # without its server the service ends: the job waits in the database for the next one
        try:
            self._fail(job, Outcome.unexpected(error))
        except Exception:  # in the database it waits, and is taken up at the next start
            log.exception("what became of job %s could not be noted", job.id)
            self._end(job, Status.FAILED)

    def lose(self, job: Job) -> None:
        with self._lock:
            job.is_whole = False
            self._release(job)
        self._runs.note(job.id, {WHOLE: "no"})

    def _release(self, job: Job) -> None:
        if self._by_content.get(job.content) is job:
            del self._by_content[job.content]

    def _end(self, job: Job, status: Status) -> None:
        with self._lock:
            job.ended_at = datetime.now(UTC)
            if job.started_at and status == Status.SUCCEEDED:
                self._took.add((job.ended_at - job.started_at).total_seconds())
            if not (status == Status.SUCCEEDED and job.is_whole):
                self._release(job)
            job.status = status
        self._metrics.job_ended(job)
        job.done.set_result(None)
        log.info("job %s %s", job.id, " ".join(filter(None, [status, job.reason])))
