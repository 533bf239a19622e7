"""Runs a program of ours on a video file, in a process that can do no harm.

A hostile or broken file can hang, crash or bloat a decoder. In a process with a deadline, limits, no
network and no credentials that costs one video, not the worker. `tasks.adapters.video.forkserver` forks it.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from tasks.adapters.stopping import child_at_work, raise_if_stopped
from tasks.core.errors import DecodeFailed, VideoRefused

FORKSERVER = "tasks.adapters.video.forkserver"
RECEIVED_BYTES = 65536
"""At once."""
STDERR_TAIL_BYTES = 4000
OUT_OF_MEMORY_WORDS = ("MemoryError", "bad_alloc", "Cannot allocate memory", "failed to map segment")
ENV_ALLOWLIST = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "IMAGEIO_FFMPEG_EXE",
    "FONTCONFIG_FILE",
)
"""The variables that a program inherits: credentials are none of its business."""
CHILD_ENV = {
    "LC_ALL": "C.UTF-8",
    # Each costs address space per thread, which RLIMIT_AS counts.
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    # decord gives up on slow machines by counting polls, and would then repeat or seek frames.
    "DECORD_EOF_RETRY_MAX": "1000000000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every program is told. Paths are absolute.

    `name` is what messages call the video. `memory_bytes` limits the address space of each process,
    `file_bytes` the size of each file it writes.
    """

    source: str
    name: str
    memory_bytes: int
    file_bytes: int


def run_sandboxed(program: str, job: Job, *, doing: str, folder: Path, deadline_s: float) -> Any:
    """Has a process in `folder` call `do_job` of the module `program`; returns its result, as JSON has it.

    The process ends with the deadline, with this process or with `stop_work`. `doing` and the name of the
    video begin the message of an error, as in "Decoding 'a.mp4' crashed".

    Raises `VideoRefused` or `DecodeFailed` as the program raised it, or `DecodeFailed` (reason
    `deadline`, `out_of_memory` or `crashed`) if it did not finish; `RunEnded` if it was stopped.
    """
    doing = f"{doing} '{job.name}'"
    task = pickle.dumps((program, job, str(folder), _environment()))
    with tempfile.TemporaryFile(dir=folder) as stderr:
        try:
            with _at_work(task, folder, stderr.fileno()) as process:
                answer, code = _read(process, deadline_s=deadline_s)
        except TimeoutError as error:
            raise DecodeFailed(
                f"{doing} was stopped after limits.deadline_seconds = {deadline_s:g}.",
                reason="deadline",
            ) from error
        raise_if_stopped(folder)
        if code:
            raise _crash(doing, code, _tail(stderr))
    return _result(json.loads(answer))


class _ForkServer:
    """The fork server of this process: started when it is first needed, and again where it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, task: bytes, stderr: int) -> socket.socket:
        """Starts a process: the socket that it answers over."""
        with self._lock:
            try:
                return self._ask(task, stderr)
            except ConnectionError:
                self.close()
                return self._ask(task, stderr)

    def close(self) -> None:
        """Ends it, and the processes that are at work."""
        if self._requests is not None and self._process is not None:
            self._requests.close()
            self._process.wait()
        self._requests = self._process = None

    def _ask(self, task: bytes, stderr: int) -> socket.socket:
        if self._requests is None:
            self._requests = self._start()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._requests, [b"+"], [theirs.fileno(), stderr])
                ours.sendall(task)
            except OSError:
                ours.close()
                raise
        return ours

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", FORKSERVER],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        return ours


fork_server = _ForkServer()
atexit.register(fork_server.close)


@contextmanager
def _at_work(task: bytes, folder: Path, stderr: int) -> Iterator[socket.socket]:
    """For the block, a process is at work; afterwards it has ended, and what it started has."""
    with fork_server.fork(task, stderr) as process:
        try:
            with child_at_work(folder, partial(_end, process)):
                yield process
        finally:
            process.settimeout(None)
            with suppress(ConnectionError):
                while process.recv(RECEIVED_BYTES):
                    pass


def _end(process: socket.socket) -> None:
    with suppress(OSError):  # it has ended
        process.shutdown(socket.SHUT_WR)


def _read(process: socket.socket, *, deadline_s: float) -> tuple[bytes, int]:
    """What a process answers, and its exit code. Raises `TimeoutError`."""
    deadline, received = time.monotonic() + deadline_s, bytearray()
    while True:
        process.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            part = process.recv(RECEIVED_BYTES)
        except ConnectionError:
            part = b""
        received += part
        if not part:
            answer, newline, code = bytes(received).rpartition(b"\n")
            return answer, int(code) if newline else -signal.SIGKILL


def _environment() -> dict[str, str]:
    """All that a program sees of the environment."""
    package_root = str(Path(__file__).resolve().parents[3])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {name: os.environ[name] for name in ENV_ALLOWLIST if name in os.environ}
    return {**inherited, **CHILD_ENV, "PYTHONPATH": os.pathsep.join(paths)}


def _crash(doing: str, code: int, stderr: str) -> DecodeFailed:
    last = stderr.strip().splitlines()[-1:] or ["no message"]
    if code == -signal.SIGKILL or any(sign in stderr for sign in OUT_OF_MEMORY_WORDS):
        return DecodeFailed(f"{doing} ran out of memory ({last[0]}).", reason="out_of_memory")
    return DecodeFailed(f"{doing} crashed with code {code} ({last[0]}).", reason="crashed")


def _tail(stderr: IO[bytes]) -> str:
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - STDERR_TAIL_BYTES))
    return stderr.read().decode(errors="replace")


def _result(answer: dict[str, Any]) -> Any:
    if "refused" in answer:
        raise VideoRefused(**answer["refused"])
    if "failed" in answer:
        raise DecodeFailed(**answer["failed"])
    return answer["result"]
