"""Two workers against one: the same videos on a Dask cluster of one and of two workers, a core each.

    python benchmarks/workers.py

VideoMAE has its true size and is untrained; the deep stage is off. Scheduler, Prefect server and flow run on
the same cores, so that a machine with only two shows less than there is. Prints a table, and writes
benchmarks/results/workers.json.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deep_stage_report import at_least, machine, provenance, table
from speed_fast import write_videomae
from speed_flow import DEEP_OFF, loops
from speed_whole import rank

RESULT = Path(__file__).parent / "results" / "workers.json"
VIDEOS, SECONDS = 8, 68
"""Of four windows each."""


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos, fast = (
            loops(folder / "videos", [SECONDS] * VIDEOS),
            write_videomae(folder / "videomae", quick=False),
        )
        runs: dict[int, dict[str, Any]] = {}
        for count in (1, 2):
            with cluster(folder / f"cluster-{count}", count) as address:
                on_it = ("--engine.runner", "dask", "--engine.dask_address", address)
                # The first run loads the models: the second is timed.
                for output in (folder / f"warm-{count}", folder / f"output-{count}"):
                    _, runs[count] = rank(videos, output, fast, fast, DEEP_OFF, *on_it)
    seconds = {count: run["seconds"]["whole"] for count, run in runs.items()}
    goal = at_least("two workers: times the throughput of one", seconds[1] / seconds[2], 1.8)
    report = {
        **provenance(["python", "benchmarks/workers.py"]),
        "machine": machine(),
        "videos": VIDEOS,
        "windows": runs[1]["counts"]["windows"],
        "seconds by workers": seconds,
        "goals": [goal],
    }
    print(table(["goal", "measured", "wanted", "met"], [list(goal.values())]))
    RESULT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


@contextmanager
def cluster(folder: Path, count: int) -> Iterator[str]:
    """A scheduler with so many workers of one core each; gives its address."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    commands = [["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
    offer = ["--nthreads", "4", "--resources", "GPU=1", "--no-nanny", "--no-dashboard"]
    commands += [["worker", address, *offer, "--local-directory", str(folder)] for _ in range(count)]
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
