"""A cluster that has no worker until videos wait, and none when they are done: by Dask's own `adapt`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from distributed import LocalCluster

from hookline.checks import check_dask
from tasks.adapters.workers.dask import DaskWorkers
from tasks.adapters.workers.dask_cluster import DaskCluster
from tasks.adapters.workers.processes import this_worker
from tasks.core.errors import HooklineError, WorkerLost
from tasks.core.settings import Engine
from tests.cluster import threads
from tests.waiting import patience, wait_for


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[LocalCluster]:
    with threads(tmp_path, workers=0) as made:
        yield made


def where(seconds: float) -> str:
    time.sleep(seconds)
    return this_worker()


@pytest.mark.logs_error  # Dask does, where results move from a worker that goes
def test_workers_come_while_videos_wait_and_all_is_done_while_they_leave(empty: LocalCluster) -> None:
    empty.adapt(minimum=0, maximum=2, interval="100 ms", target_duration="1 s")
    with (
        closing(DaskWorkers(empty.scheduler_address, deadline_s=300)) as workers,
        ThreadPoolExecutor(12) as pool,
    ):
        workers.expect(16)
        wait_for(lambda: workers.gpus == 2)
        places = [workers.assign(video) for video in range(12)]
        calls = [pool.submit(workers.call, where, 0.3, prefer=place) for place in places]
        workers.expect(0)
        assert calls[0].result() == places[0]
        workers._cluster.client.retire_workers([places[0].split()[0]], close_workers=True)
        errors = [error for call in calls if (error := call.exception())]
        assert [type(error) for error in errors] in ([], [WorkerLost])  # of the call that it was doing
        wait_for(lambda: workers.gpus and not empty.scheduler.workers)
        assert workers.call(where, 0) not in places  # it is given to one that had been there at the last look
        wait_for(lambda: not workers._offering())
        assert workers.call(where, 0) not in places
        wait_for(lambda: not empty.scheduler.workers)
        wait_for(lambda: not workers._offering())
        workers.expect(1)
        workers._cluster.client.cancel(workers._cluster._wanted)  # as by a scheduler that is started again
        assert workers.call(where, 0)


def test_the_first_worker_is_wanted_of_a_scheduler_that_is_started_again_too(
    empty: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.adapters.workers.dask_cluster.FIRST_WORKER_TIMEOUT_S", patience(20))
    cluster = DaskCluster(empty.scheduler_address)
    with closing(cluster.client), ThreadPoolExecutor(1) as pool:
        waits = pool.submit(cluster.wait_for_a_worker)
        wait_for(lambda: cluster._wanted)
        cluster.client.cancel(cluster._wanted)  # as by a scheduler that is started again
        empty.adapt(minimum=0, maximum=1, interval="100 ms")
        waits.result()
        assert cluster.workers()


def test_a_run_does_not_wait_for_a_worker_of_a_scheduler_that_is_gone(empty: LocalCluster) -> None:
    cluster = DaskCluster(empty.scheduler_address)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(cluster.wait_for_a_worker)
        wait_for(lambda: cluster._wanted)
        cluster.client.close()  # as it does itself, when nobody has answered for a while
        with pytest.raises(HooklineError, match="went away: start it again"):
            waits.result()


def test_a_run_says_which_command_starts_a_worker_if_none_comes(
    empty: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.adapters.workers.dask_cluster.FIRST_WORKER_TIMEOUT_S", 0.2)
    address = empty.scheduler_address
    with pytest.raises(HooklineError, match=f"has no worker .* start some with `dask worker {address}"):
        DaskWorkers(address, deadline_s=60)
    found = check_dask(Engine(runner="dask", dask_address=address))
    assert (found.status, f"`dask worker {address} " in found.text) == ("note", True)
