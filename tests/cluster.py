"""A Dask cluster on this machine: a scheduler, and workers with homes and scratch folders of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(sys.path)}


@dataclass
class Cluster:
    """Started by `cluster`; workers may be added and killed."""

    folder: Path
    address: str
    processes: ExitStack
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, program: str, *options: str, env: Mapping[str, str] = {}) -> subprocess.Popen[bytes]:
        log = self.processes.enter_context((self.folder / f"{program}-{len(self.workers)}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", program, *options],
            stdout=log,
            stderr=log,
            env={**os.environ, **QUIET, **env},
        )
        self.processes.callback(end, process)
        return process

    def add_worker(self, *options: str, **env: str) -> subprocess.Popen[bytes]:
        """One worker with a GPU to offer, in one process without a nanny."""
        home = self.folder / f"worker-{len(self.workers)}"
        home.mkdir()
        own = {"HOME": str(home), "TMPDIR": str(home), **env}
        offer = ("--nthreads", "3", "--resources", "GPU=1", "--no-nanny", "--no-dashboard")
        where = ("--local-directory", str(home), "--host", "127.0.0.1")
        worker = self.start("worker", self.address, *offer, *where, *options, env=own)
        self.workers.append(worker)
        return worker


@contextmanager
def cluster(folder: Path, *, workers: int) -> Iterator[Cluster]:
    """A scheduler with so many workers; all end with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ExitStack() as processes:
        made = Cluster(folder, f"tcp://127.0.0.1:{port}", processes)
        made.start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        for _ in range(workers):
            made.add_worker()
        yield made


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            member.kill()
    process.wait()
