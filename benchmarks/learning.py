"""How much a head of the fast score learns, and how long training and evaluating take.

    python benchmarks/learning.py [--nights 20] [--videos 20] [--windows 200000] [--library 10000]

A made-up library, whose truth is known, is ranked night by night by salience. Heads are fitted on the first
nights as `hookline train` does it, and judged on videos of their own: of the windows the judge likes best,
the share that would have been candidates. Then the commands run on tables of 200,000 windows, and of ten
thousand videos. All of it goes to benchmarks/results/learning.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cyclopts import App

from tasks.adapters.models.head import Head, load_head
from tasks.adapters.storage import open_store
from tasks.core.errors import SettingsError
from tasks.core.records import ScoredVideo
from tasks.learning.evaluate import evaluate
from tasks.learning.train import train
from tests.learning_world import MadeVideo, World, publish_nights, publish_plain_night, ranked, world_spec

RESULTS = Path(__file__).parent / "results" / "learning.json"
HELD_OUT = 100
TOP = 15

MEASURED = """import resource, sys
from hookline.cli import run
code, used = run(sys.argv[1:]), resource.getrusage(resource.RUSAGE_SELF)
print(int(code), used.ru_utime + used.ru_stime)
"""
"""A command, and how long its process computed."""

app = App(help=__doc__)


@app.default
def main(
    nights: int = 20,
    videos: int = 20,
    windows: int = 200_000,
    library: int = 10_000,
    output: Path = RESULTS,
) -> None:
    """Fit, judge, time, and keep what was found."""
    found: dict[str, object] = {"nights": nights, "videos_a_night": videos, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        found["recall"] = learned(Path(folder), nights=nights, videos=videos)
        found["train"] = timed("train", Path(folder, "long"), videos=windows // 200, dimensions=768)
        found["evaluate"] = timed("evaluate", Path(folder, "wide"), videos=library, dimensions=4)
    output.write_text(json.dumps(found, indent=1) + "\n")
    print(output.read_text())


def learned(folder: Path, *, nights: int, videos: int) -> dict[str, dict[str, float]]:
    """The recall of heads of more and more nights on videos of their own, beside salience and chance."""
    world, found = World(), {}
    later = list(world.videos(HELD_OUT, first=10_000_000))
    found["chance"], found["salience"] = recall_of(None, later), recall_of(None, later)
    found["chance"] = {"recall": found["salience"].pop("chance")}
    made = 0
    for upto in sorted({*(n for n in (3, 5, 10) if n < nights), nights}):
        publish_nights(folder, world, nights=upto - made, videos=videos, first=made)
        made = upto
        try:
            trained = train(open_store(str(folder)), promote_it="never")
        except SettingsError as refused:
            print(f"{upto} nights: {refused}")
            continue
        scored = recall_of(load_head(trained.uri), later)
        found[f"head of {upto * videos} videos"] = {"recall": scored["recall"], "r2": trained.fitted.r2}
        print(upto, found[f"head of {upto * videos} videos"], flush=True)
    measured = evaluate(open_store(str(folder))).measured
    gate = next(row for row in measured if row.metric == "recall_at_own_bar")
    found["evaluated"] = {"recall_at_own_bar": gate.estimate.value, "audited": gate.rows}
    return found


def recall_of(head: Head | None, videos: list[MadeVideo]) -> dict[str, float]:
    """Of the best windows of a packing, the share among its candidates: the mean over videos that are cut."""
    spec, shares, chances = world_spec("nowhere", head=head), [], []
    for number, made in enumerate(videos):
        scored: ScoredVideo = ranked(made, str(number), spec, audited=False).scored
        places = np.array([item.pack_rank or 0 for item in scored.windows])
        packed = np.flatnonzero(places)
        if len(packed) > 30:
            best = packed[np.argsort(-made.judged[packed], kind="stable")[:TOP]]
            shares.append(float((places[best] <= 30).mean()))
            chances.append(30 / len(packed))
    return {"recall": float(np.mean(shares)), "chance": float(np.mean(chances))}


def timed(command: str, folder: Path, *, videos: int, dimensions: int) -> dict[str, float]:
    """A command on so many videos of 200 windows, of which 32 were judged, in a process of its own."""
    for number in range(10):
        publish_plain_night(
            folder, videos=videos // 10, number=number, windows=200, judged=32, dimensions=dimensions
        )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, command, str(folder)], capture_output=True, text=True, check=True
    )
    print(done.stdout)
    code, cpu_seconds = done.stdout.splitlines()[-1].split()
    return {
        "windows": videos * 200,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(float(cpu_seconds), 1),
        "exit_code": int(code),
    }


if __name__ == "__main__":
    app()
