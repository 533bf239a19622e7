"""Two workers against one: the same videos on a Dask cluster of one and of two workers, a core each.

    python benchmarks/workers.py

VideoMAE has its true size and is untrained; the deep stage is off. Scheduler, Prefect server and flow run on
the same cores, so that a machine with two shows less than there is; what its cores give at best is what
two bare processes with the model make against one. Prints the rounds, writes benchmarks/results/workers.json.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import torch
from deep_stage_report import at_least, machine, provenance, table
from speed_fast import write_videomae
from speed_flow import DEEP_OFF, loops
from speed_whole import rank

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.videomae import load_videomae
from tasks.adapters.workers.dask_cluster import WORKER_COMMAND
from tasks.core.records import Window

RESULT = Path(__file__).parent / "results" / "workers.json"
VIDEOS, SECONDS = 8, 68
"""Of five windows each."""

ROUNDS = 3
"""Of which the median counts."""

BARE = 8
"""Windows: half a minute."""


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fast = write_videomae(folder / "videomae", quick=False)
        videos, few = loops(folder / "videos", [SECONDS] * VIDEOS), loops(folder / "few", [60, 60])
        bare = {count: bare_seconds(fast, count) for count in (1, 2)}
        rounds: list[dict[int, float]] = []
        for number in range(ROUNDS):
            seconds = {}
            for count in (1, 2):
                with cluster(folder / f"cluster-{number}-{count}", count) as address:
                    on_it = ("--engine.runner", "dask", "--engine.dask_address", address)
                    output = folder / f"{number}-{count}"
                    rank(few, output / "warm", fast, fast, DEEP_OFF, *on_it)  # loads the models
                    _, run = rank(videos, output / "timed", fast, fast, DEEP_OFF, *on_it)
                seconds[count] = run["seconds"]["whole"]
            rounds.append(seconds)
            print(seconds, flush=True)
    times = median(seconds[1] / seconds[2] for seconds in rounds)
    goal = at_least("two workers: times the throughput of one", times, 1.8)
    report = {
        **provenance(["python", "benchmarks/workers.py"]),
        "machine": machine(),
        "videos": VIDEOS,
        "windows": run["counts"]["windows"],
        "seconds by workers": rounds,
        "seconds by bare processes, as many windows in each": bare,
        "times by bare processes": 2 * bare[1] / bare[2],
        "goals": [goal],
    }
    print(f"two bare processes: {2 * bare[1] / bare[2]:.2f} times the throughput of one")
    print(table(["goal", "measured", "wanted", "met"], [list(goal.values())]))
    RESULT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def bare_seconds(fast: Checkpoint, count: int) -> float:
    """Seconds that so many processes of one thread take side by side, each for `BARE` windows."""
    with ProcessPoolExecutor(count, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(score, [fast] * count, [1] * count))  # loads the model in each
        began = time.perf_counter()
        list(pool.map(score, [fast] * count, [BARE] * count))
        return time.perf_counter() - began


def score(fast: Checkpoint, count: int) -> None:
    """Embed windows of noise."""
    frames = np.random.default_rng(0).integers(0, 256, (59, 224, 398, 3), dtype=np.uint8)
    load_videomae(fast).features(lambda ticks: frames[list(ticks)], [Window(0, 59)] * count)


@contextmanager
def cluster(folder: Path, count: int) -> Iterator[str]:
    """A scheduler with so many workers of one core each; gives its address."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    commands = [["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
    worker = [*WORKER_COMMAND.format(address=address).split()[1:], "--no-dashboard"]
    commands += [[*worker, "--local-directory", str(folder)] for _ in range(count)]
    with ExitStack() as processes, (folder / "log").open("wb") as log:
        for command in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            processes.callback(process.wait)
            processes.callback(process.terminate)
        yield address


if __name__ == "__main__":
    main()
