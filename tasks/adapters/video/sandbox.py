"""Runs a program of ours on a video file, in a process that can do no harm.

A hostile or broken file can hang, crash or bloat a decoder. In a process with a deadline, limits, no
network and no credentials that costs one video, not the worker. The parent calls `run_sandboxed`, the
program `run_job`: the job travels as JSON on standard input, its result as JSON on standard output.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from tasks.adapters.stopping import child_at_work, raise_if_stopped
from tasks.adapters.workers.parent import end_with_parent
from tasks.core.errors import DecodeFailed, VideoRefused

MAX_OPEN_FILES = 256
"""Decoders and their libraries need a dozen; of joined recordings each part counts."""
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
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""linux/sched.h"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every program is told. Paths are absolute; all fields can be written as JSON.

    `name` is what messages call the video. `memory_bytes` limits the address space of each process,
    `file_bytes` the size of each file it writes.
    """

    source: str
    name: str
    memory_bytes: int
    file_bytes: int
    parent: int = field(default_factory=os.getpid)


AnyJob = TypeVar("AnyJob", bound=Job)


def run_sandboxed(program: str, job: Job, *, doing: str, folder: Path, deadline_s: float) -> Any:
    """Runs the module `program` in `folder` and returns the result of its job.

    The program ends with the deadline, with this process or with `stop_work`. `doing` and the name of the
    video begin the message of an error, as in "Decoding 'a.mp4' crashed".

    Raises `VideoRefused` or `DecodeFailed` as the program raised it, or `DecodeFailed` (reason
    `deadline`, `out_of_memory` or `crashed`) if it did not finish; `RunEnded` if it was stopped.
    """
    doing = f"{doing} '{job.name}'"
    with tempfile.TemporaryFile(dir=folder) as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
        try:
            with child_at_work(process, folder):
                answer, _ = process.communicate(json.dumps(asdict(job)).encode(), timeout=deadline_s)
        except subprocess.TimeoutExpired as error:
            raise DecodeFailed(
                f"{doing} was stopped after limits.deadline_seconds = {deadline_s:g}.",
                reason="deadline",
            ) from error
        raise_if_stopped(folder)
        if process.returncode:
            raise _crash(doing, process.returncode, _tail(stderr))
    return _result(json.loads(answer))


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


def run_job(job_type: type[AnyJob], work: Callable[[AnyJob], object]) -> None:
    """In the program: isolates this process, then does the job on standard input.

    Nothing but the result, or the `VideoRefused` or `DecodeFailed` that `work` raised, reaches standard
    output.
    """
    result_fd = os.dup(1)
    # Libraries print as they please.
    os.dup2(2, 1)
    job = job_type(**json.load(sys.stdin))
    leave_network()  # before the first thread: afterwards the kernel refuses
    end_with_parent(job.parent, partial(os.killpg, 0, signal.SIGKILL))  # its ffmpeg, too
    _limit(resource.RLIMIT_AS, job.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, job.file_bytes)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        answer: dict[str, object] = {"result": work(job)}
    except VideoRefused as error:
        answer = {"refused": {"message": str(error), "stage": error.stage, "reason": error.reason}}
    except DecodeFailed as error:
        answer = {"failed": {"message": str(error), "reason": error.reason}}
    with os.fdopen(result_fd, "w") as out:
        json.dump(answer, out)


def leave_network() -> None:
    """Moves this process to a network namespace without devices, not even loopback, if it may (Linux).

    Root may; others may in a user namespace of their own, where the system allows those.
    """
    with suppress(OSError, AttributeError):
        unshare = ctypes.CDLL(None, use_errno=True).unshare
        if unshare(CLONE_NEWNET):
            unshare(CLONE_NEWUSER | CLONE_NEWNET)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
