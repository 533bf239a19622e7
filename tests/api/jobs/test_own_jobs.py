"""The queue of one service, without a Prefect server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from hookline.api.jobs.interface import Wanted
from hookline.api.jobs.job import Status
from hookline.api.jobs.own_jobs import OwnJobs
from tasks.core.errors import HooklineError
from tasks.core.records import VideoRef
from tests.api.jobs.runs import SETTINGS, Runs, queue, recorded


def wanted(name: str) -> Wanted:
    return Wanted(name, VideoRef(f"/videos/{name}", "1", 1), SETTINGS, content=name)


def taken_up(runs: Runs) -> OwnJobs:
    """The jobs of a service that finds these runs as it starts, and is stopped at once."""
    jobs = queue(runs)
    jobs._is_draining = True
    jobs.start()
    jobs.close(within_s=60)
    return jobs


def test_a_job_of_another_version_keeps_no_service_from_starting() -> None:
    run = recorded("1", "SCHEDULED", parameters={"settings": {"setting_of_old": 1}})
    assert taken_up(Runs(run)).list() == []
    assert run["state_type"] == "FAILED"


@pytest.mark.parametrize(
    ("run", "status", "deaths"),
    [
        (recorded("1", "SCHEDULED", run_count=7), Status.QUEUED, 0),
        (recorded("1", "RUNNING", run_count=7), Status.QUEUED, 1),
        (recorded("1", "PENDING", labels={"hookline.deaths": "a"}), Status.QUEUED, 2),
        (recorded("1", "RUNNING", labels={"hookline.deaths": "a b"}), Status.FAILED, 3),
    ],
    ids=["handed back often", "killed once", "killed twice", "killed too often"],
)
def test_a_job_fails_when_the_service_died_under_it_and_not_when_it_was_stopped(
    run: dict[str, Any], status: Status, deaths: int
) -> None:
    (job,) = taken_up(Runs(run)).list()
    assert job.status == status
    assert job.reason == ("crashed" if status == Status.FAILED else "")
    assert len(run["labels"].get("hookline.deaths", "").split()) == deaths
    assert run["state_type"] == ("FAILED" if status == Status.FAILED else "SCHEDULED")


def test_nobody_who_looks_waits_for_the_prefect_server() -> None:
    runs = Runs()
    jobs = queue(runs)
    job, _ = jobs.submit(wanted("first"))
    looks: list[Callable[[], object]] = [
        lambda: jobs.position(job),
        lambda: jobs.retry_after_s(job),
        lambda: jobs.get(job.id),
        lambda: jobs.list(),
        lambda: jobs.tally(),
        lambda: jobs.submit(wanted("first")),  # joins the one that waits
    ]
    runs.stalled = {"create", "set_state"}
    for slow in (lambda: jobs.submit(wanted("second")), lambda: jobs.cancel(job)):
        stuck = threading.Thread(target=pytest.raises, args=(HooklineError, slow))
        stuck.start()
        assert runs.waits.wait(60)
        for look in looks if slow.__code__.co_names[0] == "submit" else looks[:-1]:
            looked = threading.Thread(target=look, daemon=True)
            looked.start()
            looked.join(10)
            assert not looked.is_alive()
        runs.goes_on.set()
        stuck.join()
        runs.waits.clear()
        runs.goes_on.clear()


def test_a_cancel_that_could_not_be_recorded_did_not_happen() -> None:
    runs = Runs()
    jobs = queue(runs)
    job, _ = jobs.submit(wanted("first"))
    runs.stalled = {"set_state"}
    runs.goes_on.set()
    with pytest.raises(HooklineError):
        jobs.cancel(job)
    assert (job.status, job.is_canceling, jobs.position(job)) == (Status.QUEUED, False, 1)
    runs.stalled = set()
    jobs.cancel(job)
    assert (job.status, jobs.position(job)) == (Status.CANCELED, None)
