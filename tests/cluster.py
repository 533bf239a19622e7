"""A Dask cluster on this machine: a scheduler, and workers with homes and scratch folders of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from distributed import LocalCluster

from tasks.adapters.workers.dask_cluster import WORKER_COMMAND
from tests.waiting import wait_for

QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(sys.path)}


@dataclass
class Cluster:
    """Started by `cluster`; workers may be added and killed.

    `workers` are the nannies: each starts the process that works, and another one when that ends.
    """

    folder: Path
    address: str
    processes: ExitStack
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, env: Mapping[str, str] = {}) -> subprocess.Popen[bytes]:
        log = self.processes.enter_context(self.log(f"{command[1]}-{len(self.workers)}").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=log, stderr=log, env={**os.environ, **QUIET, **env}
        )
        self.processes.callback(end, process)
        return process

    def add_worker(self, *options: str, **env: str) -> subprocess.Popen[bytes]:
        """One worker, as the guide starts it."""
        home = self.folder / f"worker-{len(self.workers)}"
        home.mkdir()
        own = {"HOME": str(home), "TMPDIR": str(home), **env}
        command = WORKER_COMMAND.format(address=self.address).split()
        apart = ("--local-directory", str(home), "--host", "127.0.0.1", "--no-dashboard")
        worker = self.start(*command, *apart, *options, env=own)
        self.workers.append(worker)
        return worker

    def joined(self) -> int:
        """How many workers have ever joined, those that were started again among them."""
        return self.log("scheduler-0").read_text().count("Register worker addr")

    def left(self) -> int:
        """How many of those are gone."""
        return self.log("scheduler-0").read_text().count("Remove worker addr")

    def wait_until_joined(self, count: int) -> None:
        wait_for(lambda: self.joined() >= count)

    def working(self) -> list[psutil.Process]:
        """The processes that do the work, in the order of their nannies."""
        nannies = [psutil.Process(worker.pid) for worker in self.workers if worker.poll() is None]
        return [child for nanny in nannies for child in nanny.children() if runs(child, "spawn_main")]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextmanager
def cluster(folder: Path, *, workers: int) -> Iterator[Cluster]:
    """A scheduler with so many workers; all end with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ExitStack() as processes:
        made = Cluster(folder, f"tcp://127.0.0.1:{port}", processes)
        made.start("dask", "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        for _ in range(workers):
            made.add_worker()
        made.wait_until_joined(workers)
        yield made


@contextmanager
def threads(folder: Path, *, workers: int) -> Iterator[LocalCluster]:
    """A cluster whose workers are threads of this process, and speak TCP: they cost nothing to start."""
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=4,
        resources={"GPU": 1},
        memory_limit=0,
        processes=False,
        protocol="tcp",
        dashboard_address="127.0.0.1:0",
        local_directory=str(folder),
    ) as made:
        yield made


def runs(process: psutil.Process, program: str) -> bool:
    """Whether this is in the command of a process; one that has ended meanwhile runs nothing."""
    try:
        return program in " ".join(process.cmdline())
    except psutil.Error:
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                member.kill()
    process.wait()
