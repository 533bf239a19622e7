"""Jobs of a deployment, as services see them that share their Prefect server."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from hookline.api.jobs import deployed_jobs
from hookline.api.jobs.deployed_jobs import CANCELED_WITHIN_S, DeployedJobs
from hookline.api.jobs.job import Job, Status
from hookline.api.jobs.metrics import Metrics
from tests.api.jobs.runs import Runs, in_state, recorded

JOB = "00000000-0000-0000-0000-000000000001"


def service(runs: Runs) -> DeployedJobs:
    return DeployedJobs(cast("Any", runs), Metrics(), library="", max_queued=9)


def held(jobs: DeployedJobs) -> Job:
    job = jobs.get(JOB)
    assert job
    return job


class SeenBefore(Runs):
    """The same runs for a service whose look was interrupted: it goes on with what it has seen before."""

    def __init__(self, runs: Runs) -> None:
        super().__init__()
        self.there, self.begun, self.seen = runs.there, runs.begun, [*runs.newest(9, kinds=("CRASHED",))]

    def newest(self, number: int, *, kinds: Any = ()) -> Any:
        return iter(self.seen) if kinds == ("CRASHED",) else super().newest(number, kinds=kinds)


def test_a_death_that_two_services_see_counts_once_and_whoever_is_late_disturbs_nothing() -> None:
    runs = Runs(run := recorded(JOB, "CRASHED", for_s=60, labels={"hookline.reason": "not_found"}))
    late = service(SeenBefore(runs))
    for one in (service(runs), late):
        one.look()
        assert (run["state_type"], run["labels"]["hookline.deaths"]) == ("SCHEDULED", "r1")
    assert run["labels"]["hookline.reason"] == ""  # what an earlier try died of says nothing of the next
    run |= in_state("RUNNING")
    late.look()
    assert run["state_type"] == "RUNNING"


def test_a_death_that_is_reported_twice_counts_once_and_is_waited_for_to_be() -> None:
    runs = Runs(run := recorded(JOB, "CRASHED", labels={"hookline.deaths": "r0"}))
    jobs = service(runs)
    jobs.look()
    assert run["state_type"] == "CRASHED"
    for _ in range(2):  # by the process that watched it, and by the worker, after the run has begun to wait
        run |= in_state("CRASHED", for_s=60)
        jobs.look()
        assert (run["state_type"], run["labels"]["hookline.deaths"]) == ("SCHEDULED", "r0 r1")


def test_a_job_under_which_three_workers_died_fails() -> None:
    runs = Runs(run := recorded(JOB, "CRASHED", for_s=60, labels={"hookline.deaths": "s-1 s-2"}))
    jobs = service(runs)
    jobs.look()
    job = held(jobs)
    assert (run["state_type"], job.status, job.reason) == ("FAILED", Status.FAILED, "crashed")


@pytest.mark.parametrize(
    ("for_s", "status"),
    [(CANCELED_WITHIN_S - 60, Status.RUNNING), (CANCELED_WITHIN_S + 1, Status.CANCELED)],
    ids=["the worker may be at it", "the worker is gone"],
)
def test_a_canceled_job_ends_also_without_its_worker(for_s: float, status: Status) -> None:
    jobs = service(Runs(recorded(JOB, "CANCELLING", for_s=for_s)))
    job = held(jobs)
    for _ in range(2):
        jobs.look()
    assert (job.status, job.done.done()) == (status, status == Status.CANCELED)


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_service_that_is_stopped_waits_for_jobs_that_callers_wait_for_alone(
    waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed_jobs, "LOOK_EVERY_S", 0.05)
    runs = Runs(run := recorded(JOB, "RUNNING"))
    jobs = service(runs)
    jobs.start()
    job = held(jobs)
    job.waiting = waiting
    closing = threading.Thread(target=jobs.close, kwargs={"within_s": 60})
    closing.start()
    closing.join(10 if not waiting else 0.5)
    assert closing.is_alive() is bool(waiting)
    run |= in_state("CANCELLED")
    closing.join(10)
    assert not closing.is_alive()
    assert job.is_final is bool(waiting)
