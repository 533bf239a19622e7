"""The program from which the sandbox forks its processes: it has imported what they need.

Imports take longer than decoding a short video does. This program pays for them once; each process is a
fork of it, in a group, a folder and limits of its own.

For each job a socket is sent to its standard input, and over that socket what to do. Back come the result,
as JSON, and the exit code, on a line of its own. Who shuts the socket down ends the process, and all that
it started; so does the end of the parent.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import resource
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from tasks.adapters.stopping import kill_group
from tasks.adapters.workers.parent import end_with_parent
from tasks.core.errors import DecodeFailed, VideoRefused

if TYPE_CHECKING:
    from tasks.adapters.video.sandbox import Job

    Task = tuple[str, Job, str, dict[str, str]]
    """The module whose `do_job` does a job, the job, in which folder, and all it sees of the environment."""

MAX_OPEN_FILES = 256
"""Decoders and their libraries need a dozen; of joined recordings each part counts."""
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""linux/sched.h"""


class ForkServer:
    """Forks a process for each job until the parent is gone."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.children: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Return when the parent is gone, and its processes are killed."""
        deaths, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for each in (self.requests, deaths):
            self.selector.register(each, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == deaths:
                    os.read(deaths, 4096)
                    self.bury()
                elif key.data in self.children:
                    self.selector.unregister(key.fileobj)
                    kill_group(key.data)
                elif key.fileobj is self.requests and not self.receive():
                    for child in self.children:
                        kill_group(child)
                    return

    def receive(self) -> bool:
        """Fork a process for the job that comes next, if any comes."""
        _, descriptors, *_ = socket.recv_fds(self.requests, 1, 2)
        if not descriptors:
            return False
        channel, stderr = socket.socket(fileno=descriptors[0]), descriptors[1]
        try:
            self.fork(channel, stderr)
        except (EOFError, OSError):  # who asked has left, or the system has no room for a process
            channel.close()
        os.close(stderr)
        return True

    def fork(self, channel: socket.socket, stderr: int) -> None:
        with channel.makefile("rb") as file:
            task: Task = pickle.load(file)
        with suppress(Exception):  # it happens again in the process, which is asked why
            import_module(task[0])
        gc.freeze()  # the collector would write to all of it in each process
        parent = os.getpid()
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (self.requests, *self.children.values()):
                other.close()
            work_and_exit(task, channel, stderr, parent)
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(child, child)  # as the child does itself: whoever is first
        self.children[child] = channel
        self.selector.register(channel, selectors.EVENT_READ, child)

    def bury(self) -> None:
        """Kill what children that ended have left, and pass on their exit codes."""
        while self.children:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            kill_group(child)
            channel = self.children.pop(child)
            with suppress(KeyError):
                self.selector.unregister(channel)
            with channel, suppress(OSError):
                channel.sendall(f"\n{os.waitstatus_to_exitcode(status)}".encode())


def work_and_exit(task: Task, channel: socket.socket, stderr: int, parent: int) -> NoReturn:
    """In the new process: have the kernel hold it, do the job, and send what comes of it."""
    program, job, folder, environment = task
    code = 1
    try:
        os.setpgrp()
        os.chdir(folder)
        for descriptor in (1, 2):  # libraries print as they please
            os.dup2(stderr, descriptor)
        os.environ.clear()
        os.environ.update(environment)
        end_with_parent(parent, partial(os.killpg, 0, signal.SIGKILL))  # its ffmpeg, too
        limit(resource.RLIMIT_AS, job.memory_bytes)
        limit(resource.RLIMIT_FSIZE, job.file_bytes)
        limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
        limit(resource.RLIMIT_CORE, 0)
        channel.sendall(json.dumps(answer_to(program, job)).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def answer_to(program: str, job: Job) -> dict[str, object]:
    """The result, or the `VideoRefused` or `DecodeFailed` that was raised, as JSON has it."""
    try:
        return {"result": import_module(program).do_job(job)}
    except VideoRefused as error:
        return {"refused": {"message": str(error), "stage": error.stage, "reason": error.reason}}
    except DecodeFailed as error:
        return {"failed": {"message": str(error), "reason": error.reason}}


def leave_network() -> None:
    """Moves this process to a network namespace without devices, not even loopback, if it may (Linux).

    Root may; others may in a user namespace of their own, where the system allows those.
    """
    with suppress(OSError, AttributeError):
        unshare = ctypes.CDLL(None, use_errno=True).unshare
        if unshare(CLONE_NEWNET):
            unshare(CLONE_NEWUSER | CLONE_NEWNET)


def limit(kind: int, value: int) -> None:
    """Lowers a limit of this process, for good."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    leave_network()  # and its forks with it; before the first thread: afterwards the kernel refuses
    parents = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    ForkServer(parents).serve()
