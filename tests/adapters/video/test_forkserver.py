"""A process for each job, from one that is ready: none sees or harms another, and none is left."""

from __future__ import annotations

import errno
import pickle
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from hookline.checks import check_video
from tasks.adapters.stopping import stop_work
from tasks.adapters.video.forkserver import ForkServer
from tasks.adapters.video.sandbox import FORKSERVER, run_sandboxed
from tasks.core.errors import DecodeFailed, RunEnded
from tasks.core.settings import Limits, Speech
from tests.adapters.video.odd_jobs import OddJob
from tests.adapters.video.test_timeline import left_in, processes_in
from tests.waiting import patience, wait_for

GIGABYTE = 10**9


def do(folder: Path, does: str, *, deadline_s: float = 60, **fields: Any) -> Any:
    """What comes of an odd job that works in a folder of its own."""
    folder.mkdir(exist_ok=True)
    job = OddJob(
        source=str(folder / "begun"),
        name="a.mp4",
        memory_bytes=4 * GIGABYTE,
        file_bytes=GIGABYTE,
        does=does,
        **fields,
    )
    program = "tests.adapters.video.odd_jobs"
    return run_sandboxed(program, job, doing="Doing", folder=folder, deadline_s=deadline_s)


def server() -> psutil.Process:
    """The fork server of this process."""
    (found,) = [each for each in psutil.Process().children() if FORKSERVER in " ".join(each.cmdline())]
    return found


def test_it_imports_once_and_stays_without_threads() -> None:
    """A fork has only the thread that forked: what another one held would be held for ever."""
    check_video(Limits(), Speech())  # decodes by each decoder, listens, and cuts
    pid, used = server().pid, server().cpu_times().user
    check_video(Limits(), Speech())
    assert server().pid == pid
    assert server().cpu_times().user - used < 0.15  # four forks; the imports take 0.3 s
    assert server().num_threads() == 1


def test_an_answer_may_be_longer_than_what_a_socket_holds(tmp_path: Path) -> None:
    assert do(tmp_path, "count", count=10**6) == list(range(10**6))


def test_a_job_that_is_ended_takes_no_other_along(tmp_path: Path) -> None:
    do(tmp_path, "count")  # the server has imported what it needs
    with ThreadPoolExecutor(3) as pool:
        late = pool.submit(do, tmp_path / "late", "wait", seconds=100, deadline_s=patience(1))
        stopped = pool.submit(do, tmp_path / "stopped", "wait", seconds=100)
        other = pool.submit(do, tmp_path / "other", "wait", seconds=patience(2))
        for name in ("late", "stopped", "other"):
            wait_for((tmp_path / name / "begun").exists)
        stop_work(tmp_path / "stopped")
        with pytest.raises(RunEnded):
            stopped.result(patience(10))
        with pytest.raises(DecodeFailed, match=r"stopped after limits\.deadline_seconds"):
            late.result(patience(10))
        assert not processes_in(tmp_path / "late") + processes_in(tmp_path / "stopped")
        assert other.result(patience(10)) == "waited"


def test_a_job_that_cannot_be_sent_takes_no_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(do, tmp_path / "other", "wait", seconds=patience(1))
        wait_for((tmp_path / "other" / "begun").exists)
        monkeypatch.setattr("socket.send_fds", no_more_files)
        with pytest.raises(OSError, match="Too many open files"):
            do(tmp_path / "one", "count")
        assert other.result(patience(10)) == "waited"


def no_more_files(*_: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    assert do(tmp_path, "leave_a_process") == "done"
    assert not left_in(tmp_path)


def test_a_process_sees_nothing_of_others_or_of_its_parent(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(do, tmp_path / "other", "wait", seconds=patience(1))
        wait_for((tmp_path / "other" / "begun").exists)
        assert do(tmp_path / "one", "count_sockets") == 1  # it answers over it
        assert do(tmp_path / "one", "read_standard_input") == ""
        other.result(patience(10))


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("print_and_fail", r"Doing 'a\.mp4' crashed with code 1 \(ValueError: for a reason\)"),
        ("die", r"Doing 'a\.mp4' crashed with code -11 \(.*\)"),
        ("nothing_that_is_there", r"crashed with code 1 \(KeyError: 'nothing_that_is_there'\)"),
    ],
)
def test_a_process_that_fails_costs_its_own_job(tmp_path: Path, does: str, message: str) -> None:
    before = server_after(lambda: do(tmp_path, "count"))
    with pytest.raises(DecodeFailed, match=message) as failed:
        do(tmp_path, does)
    assert failed.value.reason == "crashed"
    assert server_after(lambda: do(tmp_path, "count")) == before


def server_after(work: Callable[[], object]) -> int:
    work()
    return server().pid


def test_nothing_of_a_job_stays_open(tmp_path: Path) -> None:
    do(tmp_path, "count", count=1)
    before = server().num_fds(), psutil.Process().num_fds()
    for _ in range(3):
        do(tmp_path, "count", count=1)
    assert (server().num_fds(), psutil.Process().num_fds()) == before


def test_a_server_that_is_killed_is_started_again(tmp_path: Path) -> None:
    do(tmp_path / "first", "count", count=1)
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(do, tmp_path / "lost", "wait", seconds=100)
        wait_for((tmp_path / "lost" / "begun").exists)
        server().kill()
        with pytest.raises(DecodeFailed, match="ran out of memory"):
            lost.result(patience(10))
    assert do(tmp_path / "next", "count", count=2) == [0, 1]
    assert not left_in(tmp_path)


@pytest.mark.parametrize("fault", ["the job does not come", "no process can be had"])
def test_what_cannot_be_forked_costs_its_own_job(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests, theirs = socket.socketpair()
    ours, channel = socket.socketpair()
    with requests, theirs, ours, tempfile.TemporaryFile() as stderr:
        socket.send_fds(requests, [b"+"], [channel.fileno(), stderr.fileno()])
        channel.close()
        if fault == "no process can be had":
            ours.sendall(pickle.dumps(("json", None, "/", {})))
            monkeypatch.setattr("os.fork", refuse)
            monkeypatch.setattr("gc.freeze", lambda: None)
        else:
            ours.shutdown(socket.SHUT_WR)
        server = ForkServer(theirs)
        assert server.receive()
        assert ours.recv(1) == b""
        requests.close()
        assert not server.receive()


def refuse() -> int:
    raise BlockingIOError("Resource temporarily unavailable")
