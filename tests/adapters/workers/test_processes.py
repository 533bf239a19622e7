"""Workers do what they are sent, one call at a time each; one that dies costs the call it was doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tasks.adapters.workers.processes import GpuProcesses, InProcess
from tasks.core.errors import GpuLost, ModelError, RunEnded, WorkerLost
from tests.waiting import patience


@pytest.fixture(scope="module")
def two() -> Iterator[GpuProcesses]:
    workers = GpuProcesses(["7", ""], deadline_s=60)
    yield workers
    workers.close()


def environment() -> tuple[int, str, str]:
    time.sleep(0.3)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise ModelError("The weights are not whole.", reason="model_invalid")


def count_to(number: int) -> Iterator[int]:
    yield from range(number)


def together(workers: GpuProcesses, *calls: object) -> list[object]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(workers.call, calls))  # type: ignore[arg-type]


def test_each_worker_sees_its_own_gpu_and_takes_its_share_of_the_cores(two: GpuProcesses) -> None:
    seen = {two.call(environment) for _ in range(4)}
    assert {gpu for _, gpu, _ in seen} == {"7", ""}
    assert len({pid for pid, _, _ in seen} - {os.getpid()}) == 2
    assert {int(threads) for *_, threads in seen} == {max(1, (os.cpu_count() or 1) // 2)}


def test_what_is_for_all_is_done_by_each_of_them(two: GpuProcesses) -> None:
    for _ in range(3):
        done = two.on_all(os.getpid)
        assert len(set(done) - {os.getpid()}) == 2
    assert InProcess().on_all(os.getpid) == [os.getpid()]
    with pytest.raises(ModelError, match="not whole"):
        two.on_all(refuse)


def test_calls_beyond_the_number_of_workers_wait(two: GpuProcesses) -> None:
    began = time.monotonic()
    together(two, *[environment] * 4)
    assert time.monotonic() - began >= 0.6


def test_what_needs_no_gpu_takes_none(two: GpuProcesses) -> None:
    assert two.call(os.getpid, gpu=False) == os.getpid()


def test_what_the_work_raises_comes_back_whole(two: GpuProcesses) -> None:
    with pytest.raises(ModelError, match="not whole") as raised:
        two.call(refuse)
    assert raised.value.reason == "model_invalid"


def test_what_the_work_yields_comes_back_in_order(two: GpuProcesses) -> None:
    assert list(two.each(count_to, 5)) == list(InProcess().each(count_to, 5)) == [0, 1, 2, 3, 4]


def test_a_worker_that_dies_costs_its_own_call_and_is_replaced(two: GpuProcesses) -> None:
    before = {two.call(environment)[0] for _ in range(4)}
    with ThreadPoolExecutor(2) as pool:
        killed, other = pool.submit(two.call, die), pool.submit(two.call, environment)
        with pytest.raises(WorkerLost, match="died with code -9") as raised:
            killed.result()
        assert other.result()[0] in before
    assert raised.value.reason == "worker_lost"
    after = {two.call(environment)[0] for _ in range(4)}
    assert len(after) == 2 == len(before)
    assert len(after & before) == 1


def lose_the_gpu() -> None:
    """As any work with a model does once an error of CUDA has broken its context; see `raise_if_gpu_lost`."""
    raise GpuLost("The GPU is lost to this process (CUDA error: an illegal memory access was encountered).")


def test_a_worker_that_loses_its_gpu_ends_and_the_next_call_has_another(two: GpuProcesses) -> None:
    before = {two.call(environment)[0] for _ in range(4)}
    with pytest.raises(WorkerLost, match="CUDA worked no more in it") as raised:
        two.call(lose_the_gpu)
    assert raised.value.reason == "worker_lost"
    after = {two.call(environment)[0] for _ in range(4)}
    assert len(after) == 2
    assert len(after & before) == 1


def test_a_call_that_takes_too_long_is_ended_with_its_process() -> None:
    workers = GpuProcesses([""], deadline_s=3)
    try:
        slow = workers.call(os.getpid)
        with pytest.raises(WorkerLost, match=r"limits\.deadline_seconds = 3") as raised:
            workers.call(time.sleep, 60)
        assert raised.value.reason == "deadline"
        assert not psutil.pid_exists(slow)
        assert workers.call(os.getpid) != slow
    finally:
        workers.close()


def test_workers_that_are_closed_end_their_call_and_begin_none_that_waits() -> None:
    before = psutil.Process().children()
    workers = GpuProcesses([""], deadline_s=60)
    workers.call(os.getpid)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(workers.call, time.sleep, 50) for _ in range(3)]
        time.sleep(0.5)
        began = time.monotonic()
        workers.close()
        for call in calls:
            with pytest.raises(RunEnded):
                call.result()
    assert time.monotonic() - began < patience(20)
    after = psutil.Process().children()
    assert {child for child in after if "spawn_main" in " ".join(child.cmdline())} <= {*before}


def test_workers_end_with_their_run(two: GpuProcesses) -> None:
    workers = GpuProcesses([""], deadline_s=60)
    pid = workers.call(os.getpid)
    workers.close()
    assert not psutil.pid_exists(pid)


KILLED_FLOW = """
import os, signal, sys, time
from tasks.adapters.workers.processes import GpuProcesses

if __name__ == "__main__":
    workers = GpuProcesses([""], deadline_s=60)
    print(workers.call(os.getpid), flush=True)
    workers.call(time.sleep, 60)
"""


def test_workers_end_when_their_flow_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "flow.py"
    script.write_text(KILLED_FLOW)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as flow:
        assert flow.stdout
        worker = psutil.Process(int(flow.stdout.readline()))
        flow.kill()
    worker.wait(patience(10))


def test_a_worker_killed_from_outside_at_any_moment_is_replaced() -> None:
    workers = GpuProcesses([""], deadline_s=60)
    try:
        for pause in (0.0, 0.02, 0.1, 0.3):
            with ThreadPoolExecutor(1) as pool:
                pid = workers.call(os.getpid)
                call = pool.submit(workers.call, time.sleep, 0.2)
                time.sleep(pause)
                os.kill(pid, signal.SIGKILL)
                with suppress(WorkerLost):
                    call.result(patience(30))
            for _ in range(3):  # the loss of an idle worker shows at the next call
                with suppress(WorkerLost):
                    assert workers.call(os.getpid) != pid
                    break
            else:
                pytest.fail("no worker was started again")
    finally:
        workers.close()
