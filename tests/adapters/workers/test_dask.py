"""Dask workers do what they are sent; one that ends costs the call on its GPU, and no other."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tasks.adapters.workers import dask as dask_workers
from tasks.adapters.workers import dask_cluster
from tasks.adapters.workers.dask import LEAVE_S, DaskWorkers
from tasks.adapters.workers.processes import this_worker, worker_name
from tasks.core.errors import GpuLost, HooklineError, WorkerLost
from tests.cluster import Cluster, cluster, end
from tests.waiting import wait_for

HUNG_S = 2


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), workers=0) as made, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        # A worker with a port of its own has the same address when it is started again.
        made.add_worker("--worker-port", str(probe.getsockname()[1]))
        probe.close()
        made.wait_until_joined(1)
        yield made


@pytest.fixture
def workers(dask: Cluster) -> Iterator[DaskWorkers]:
    with closing(DaskWorkers(dask.address, deadline_s=HUNG_S)) as made:
        yield made


def span(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def noted(notes: Path, seconds: float = 0) -> int:
    """A call that leaves a note when it begins."""
    with notes.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def killed(notes: Path) -> None:
    noted(notes, seconds=0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def lose_the_gpu() -> None:
    """As any work with a model does once an error of CUDA has broken its context."""
    raise GpuLost("The GPU is lost to this process.")


def give_up() -> None:
    raise TimeoutError("The work itself took too long.")


def begun(notes: Path) -> list[int]:
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


def test_one_call_at_a_time_is_on_a_gpu_while_others_go_on(workers: DaskWorkers) -> None:
    with ThreadPoolExecutor(4) as pool:
        beside = pool.submit(workers.call, span, 1.5, gpu=False)
        on_gpu = [pool.submit(workers.call, span, 0.5) for _ in range(3)]
        spans = sorted(call.result() for call in on_gpu)
        for (_, ended), (began, _) in pairwise(spans):
            assert ended <= began
        began, ended = beside.result()
        assert began < spans[0][1]
        assert ended > spans[1][0]


def test_a_call_that_hangs_is_ended_with_its_worker_and_no_other_call_with_it(
    workers: DaskWorkers, tmp_path: Path
) -> None:
    hung, waiting, opening = (tmp_path / name for name in ("hung", "waiting", "opening"))
    before = workers.call(os.getpid)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(workers.call, noted, hung, 60)]
        wait_for(lambda: begun(hung))
        calls.append(pool.submit(workers.call, noted, waiting))
        calls.append(pool.submit(workers.call, noted, opening, HUNG_S + LEAVE_S + 1, gpu=False))
        with pytest.raises(WorkerLost, match=r"limits\.deadline_seconds = 2") as lost:
            calls[0].result()
        after = [call.result() for call in calls[1:]]
    assert lost.value.reason == "deadline"
    assert begun(hung) == [before]
    assert after == [begun(waiting)[-1], begun(opening)[-1]]
    assert before not in after
    assert not psutil.pid_exists(before)


def test_a_call_that_ends_its_worker_is_lost_and_what_else_that_did_is_done_again(
    workers: DaskWorkers, tmp_path: Path
) -> None:
    deadly, waiting, opening = (tmp_path / name for name in ("deadly", "waiting", "opening"))
    with ThreadPoolExecutor(3) as pool:
        opened = pool.submit(workers.call, noted, opening, 2, gpu=False)
        wait_for(lambda: begun(opening))
        lost = pool.submit(workers.call, killed, deadly)
        wait_for(lambda: begun(deadly))
        waited = pool.submit(workers.call, noted, waiting)
        with pytest.raises(WorkerLost, match="died with this work") as raised:
            lost.result()
        (before,), after = begun(deadly), [opened.result(), waited.result()]
    assert raised.value.reason == "worker_lost"
    assert before not in after
    assert begun(opening) == [before, after[0]]
    assert begun(waiting) == [after[1]]


def test_a_call_whose_next_worker_comes_before_the_loss_is_noticed_is_lost_all_the_same(
    workers: DaskWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy machine: the flow sees the worker as it was, until Dask has given its work to the next."""
    as_it_was = workers._offering()
    monkeypatch.setattr(workers, "_offering", lambda: as_it_was)
    with pytest.raises(WorkerLost, match="died with this work"):
        workers.call(killed, tmp_path / "deadly")
    assert len(begun(tmp_path / "deadly")) == 1


def test_a_call_that_ends_its_worker_without_a_gpu_is_lost(workers: DaskWorkers, tmp_path: Path) -> None:
    with pytest.raises(WorkerLost, match="died with this work"):
        workers.call(killed, tmp_path / "deadly", gpu=False)
    assert len(begun(tmp_path / "deadly")) == 1


def test_a_worker_that_loses_its_gpu_ends_and_the_next_call_has_another(workers: DaskWorkers) -> None:
    before = workers.call(os.getpid)
    with pytest.raises(WorkerLost, match="A Dask worker ended: The GPU is lost"):
        workers.call(lose_the_gpu)
    assert workers.call(os.getpid) != before


def test_a_timeout_of_the_work_is_no_deadline_of_the_worker(workers: DaskWorkers) -> None:
    before = workers.call(os.getpid)
    for gpu in (True, False):
        with pytest.raises(TimeoutError, match="The work itself"):
            workers.call(give_up, gpu=gpu)
    assert workers.call(os.getpid) == before


def test_a_result_that_comes_as_a_wait_for_it_ends_is_returned(
    workers: DaskWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's client then has neither a result nor an error."""
    for number in range(100):
        monkeypatch.setattr(dask_workers, "POLL_S", 0.004)  # about as long as a call takes
        later = threading.Timer(0.05, setattr, (dask_workers, "POLL_S", dask_cluster.POLL_S))
        later.start()
        assert workers.call(abs, -number, gpu=False) == number
        later.cancel()


def test_a_worker_that_comes_back_at_its_address_is_another_one(workers: DaskWorkers, dask: Cluster) -> None:
    """It has nothing of what the one before had on its disk."""
    before, joined = workers.call(this_worker, gpu=False), dask.joined()
    dask.working()[0].kill()
    dask.wait_until_joined(joined + 1)
    after = workers.call(this_worker, prefer=before)
    assert after.split()[0] == before.split()[0]
    assert after != before


def test_a_call_that_reaches_the_next_worker_at_an_address_is_made_again_there(
    workers: DaskWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the cluster has not noticed yet that the worker it was meant for is gone."""
    there = workers.call(this_worker)
    gone = worker_name(there.split()[0], "/gone")
    seen = iter([{gone: 1}])
    offering = workers._offering
    monkeypatch.setattr(workers, "_offering", lambda: next(seen, None) or offering())
    assert workers.call(this_worker, prefer=gone) == there


def test_workers_with_a_memory_limit_are_given_nothing(
    workers: DaskWorkers, dask: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The last of this file: it leaves the cluster with such a worker alone."""
    joined = dask.joined()
    dask.add_worker("--memory-limit", "2GB")
    dask.wait_until_joined(joined + 1)
    wait_for(lambda: workers.gpus and "memory limit" in caplog.text)
    with ThreadPoolExecutor(4) as pool:
        spans = sorted(pool.map(workers.call, [span] * 4, [0.3] * 4))
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
    (record,) = [record for record in caplog.records if "memory limit" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "--memory-limit 0" in record.getMessage()

    left = dask.left()
    end(dask.workers[0])
    wait_for(lambda: dask.left() > left)
    with pytest.raises(HooklineError, match=r"memory limit.*\(2\.0 GB\).*`dask worker .*--memory-limit 0`"):
        DaskWorkers(dask.address, deadline_s=60)
