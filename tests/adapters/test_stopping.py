"""Work that is stopped begins nothing more, and has ended when it was waited for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.adapters.stopping import at_work, raise_if_stopped, stop_work, wait_for_work
from tasks.adapters.storage.scratch import leave_run, scratch_base
from tasks.core.errors import RunEnded
from tests.waiting import patience


def test_only_the_work_under_the_folder_is_stopped(tmp_path: Path) -> None:
    stop_work(tmp_path / "run")
    for path in ["run", "run/video", "run/video/frames.rgb"]:
        with pytest.raises(RunEnded):
            raise_if_stopped(tmp_path / path)
    raise_if_stopped(tmp_path / "run-2" / "video")
    raise_if_stopped(str(tmp_path))


def test_who_waits_goes_on_when_the_last_thread_has_left(tmp_path: Path) -> None:
    begun, leave = threading.Barrier(3), threading.Event()

    def work(folder: Path) -> None:
        with at_work(folder):
            begun.wait(patience(10))
            leave.wait(patience(10))

    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(work, tmp_path / "run" / name) for name in "ab"]
        begun.wait(patience(10))
        stop_work(tmp_path / "run")
        waiting = pool.submit(wait_for_work, tmp_path / "run")
        wait_for_work(tmp_path / "another")
        assert not waiting.done()
        leave.set()
        waiting.result(patience(10))
        assert all(worker.done() or worker.result(patience(10)) is None for worker in workers)
    with pytest.raises(RunEnded), at_work(tmp_path / "run"):
        pytest.fail("it began")


def test_a_worker_that_leaves_a_run_frees_its_space_alone(tmp_path: Path) -> None:
    base = scratch_base(str(tmp_path))
    gone, other, flow = base / "worker-1" / "run", base / "worker-1" / "another", base / "run"
    removed = base / "worker-2" / "run"  # by another worker of this machine
    removed.parent.mkdir()
    for folder in (gone, other, flow):
        (folder / "video").mkdir(parents=True)
    leave_run("run", str(tmp_path))
    assert [folder.exists() for folder in (gone, other, flow)] == [False, True, True]
    for folder in (gone, removed):
        with pytest.raises(RunEnded):
            raise_if_stopped(folder / "video" / "frames.rgb")
    raise_if_stopped(other / "video")
    raise_if_stopped(flow / "video")
