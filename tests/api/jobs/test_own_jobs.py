"""The queue of one service, without a Prefect server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest

from hookline.api.jobs.interface import Wanted
from hookline.api.jobs.job import Status
from hookline.api.jobs.metrics import Metrics
from hookline.api.jobs.own_jobs import OwnJobs
from tasks.core.errors import HooklineError
from tasks.core.records import VideoRef
from tasks.core.settings import Settings

SETTINGS = Settings(source="/videos/a.mp4", output="/out")


class Runs:
    """Runs in memory. What is `stalled` waits until it is let go, and then fails."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.there = {run["id"]: run for run in there}
        self.stalled: set[str] = set()
        self.waits, self.goes_on = threading.Event(), threading.Event()

    def newest(self, count: int) -> Iterator[dict[str, Any]]:
        return iter([*self.there.values()])

    def create(self, parameters: Any, labels: Any, *, key: str) -> dict[str, Any]:
        self._stall("create")
        return self.there.setdefault(key, recorded(key, "SCHEDULED", labels=labels))

    def read(self, run_id: str) -> dict[str, Any]:
        return self.there[run_id]

    def set_state(self, run_id: str, kind: str, *_: Any, **__: Any) -> bool:
        self._stall("set_state")
        self.there[run_id]["state_type"] = kind
        return True

    def note(self, run_id: str, labels: Mapping[str, str]) -> None:
        self.there[run_id]["labels"] |= labels

    def _stall(self, what: str) -> None:
        if what in self.stalled:
            self.waits.set()
            assert self.goes_on.wait(60)
            raise HooklineError("The Prefect server is away.")


def recorded(run_id: str, kind: str, **more: Any) -> dict[str, Any]:
    run = {"id": run_id, "state_type": kind, "labels": {}, "run_count": 0, "created": "2026-11-26T00:00:00Z"}
    times = {"start_time": None, "end_time": None}
    return run | times | {"parameters": {"settings": SETTINGS.model_dump(mode="json")}} | more


def queue(runs: Runs) -> OwnJobs:
    """Jobs that nobody works on."""
    return OwnJobs(cast("Any", runs), cast("Any", None), Metrics(), library="", max_queued=9)


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
        (recorded("1", "SCHEDULED", run_count=7), Status.QUEUED, None),
        (recorded("1", "RUNNING", run_count=7), Status.QUEUED, "1"),
        (recorded("1", "PENDING", labels={"hookline.deaths": "1"}), Status.QUEUED, "2"),
        (recorded("1", "RUNNING", labels={"hookline.deaths": "2"}), Status.FAILED, "3"),
    ],
    ids=["handed back often", "killed once", "killed twice", "killed too often"],
)
def test_a_job_fails_when_the_service_died_under_it_and_not_when_it_was_stopped(
    run: dict[str, Any], status: Status, deaths: str | None
) -> None:
    (job,) = taken_up(Runs(run)).list()
    assert job.status == status
    assert job.reason == ("crashed" if status == Status.FAILED else "")
    assert run["labels"].get("hookline.deaths") == deaths
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
