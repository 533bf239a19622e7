"""How long short commands take: `rank` on one video, with nothing new, `--help` and `show`.

    python benchmarks/start.py [--before CHECKOUT] [--rounds 3]

With another checkout of Hookline, its commands and ours take turns, with the same Python, so that what else
the machine does meets both. Both demo models, deep stage on. Wall seconds, and those that the command and all
it started and ended spent on the CPU; medians. They go to benchmarks/results/start.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from children import cpu_seconds
from deep_stage_report import at_most, machine, provenance, table
from footage import ffmpeg

from hookline.demo_models import write_demo_models
from hookline.lingering import NOTE, VARIABLE

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "start.json"
CLI = (sys.executable, "-c", "from hookline.cli import main; main()")

GOALS = {"one video, later calls": 0.55, "nothing new": 0.5}
"""The share of the seconds before that a command may take at most."""

Seconds = tuple[float, float]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    trees = {"now": ROOT} | ({"before": options.before.resolve()} if options.before else {})
    with tempfile.TemporaryDirectory(prefix="hookline-start-") as folder:
        found = measure(Path(folder), trees, rounds=options.rounds)
    goals = [
        at_most(f"{what}: share of before", seconds["now"]["wall"] / seconds["before"]["wall"], GOALS[what])
        for what, seconds in found.items()
        if what in GOALS and "before" in seconds
    ]
    goals += [at_most(f"{what}: seconds", found[what]["now"]["wall"], 0.7) for what in ("--help", "show")]
    print(table(["goal", "measured", "wanted", "met"], [list(goal.values()) for goal in goals]))
    report = {**provenance(["python", "benchmarks/start.py", *sys.argv[1:]]), "machine": machine()}
    options.output.write_text(json.dumps({**report, "seconds": found, "goals": goals}, indent=1) + "\n")


def measure(folder: Path, trees: dict[str, Path], *, rounds: int) -> dict[str, Any]:
    """Seconds of each command by tree: the first call has a Prefect home that is new, the others that one."""
    write_demo_models(folder / "models")
    (folder / "videos").mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10:duration=10", str(folder / "videos/one.mp4"))
    for tree in trees.values():  # all is compiled and read once, and counts for nobody
        command(tree, folder, folder / "warm", "rank")
        end_server(folder / "warm" / "prefect")
        shutil.rmtree(folder / "warm")
    found: dict[str, dict[str, list[Seconds]]] = {}
    for number in range(rounds):
        for name, tree in trees.items():
            home, output = folder / f"{name}-{number}", folder / f"{name}-{number}" / "output"
            for what, arguments in commands(output).items():
                seconds = command(tree, folder, home, *arguments)
                found.setdefault(what, {}).setdefault(name, []).append(seconds)
            end_server(home / "prefect")
    return {
        what: {
            name: {
                "wall": median(wall for wall, _ in all_),
                "cpu": median(cpu for _, cpu in all_),
                "all": all_,
            }
            for name, all_ in by_tree.items()
        }
        for what, by_tree in found.items()
    }


def commands(output: Path) -> dict[str, list[str]]:
    """What is measured, in this order."""
    return {
        "one video, first call": ["rank", str(output / "first")],
        "one video, later calls": ["rank", str(output / "second")],
        "nothing new": ["rank", str(output / "second")],
        "--help": ["--help"],
        "show": ["show", str(output / "second")],
    }


def command(tree: Path, folder: Path, home: Path, verb: str, *outputs: str | Path) -> Seconds:
    """Wall and CPU seconds of one command of a tree."""
    home.mkdir(exist_ok=True)
    arguments = [verb, *map(str, outputs)]
    if verb == "rank":
        output = str(outputs[0]) if outputs else str(home / "output")
        hears = (tree / "tasks/core/settings/speech.py").exists()
        stages = [stage for stage in MODELS if stage != "speech" or hears]
        models = [f"--{stage}.model={folder / 'models' / MODELS[stage]}" for stage in stages]
        arguments = [verb, str(folder / "videos"), output, *models]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    for name in ("PYTHONDONTWRITEBYTECODE", VARIABLE):
        environment.pop(name, None)
    environment |= {"PREFECT_HOME": str(home / "prefect"), "PYTHONPATH": str(tree)}
    began, used = time.perf_counter(), cpu_seconds()
    subprocess.run([*CLI, *arguments], cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began, cpu_seconds() - used


def end_server(home: Path) -> None:
    """End the server that waits for another command: it would take its share of the machine from the next."""
    if (note := home / NOTE).exists():
        server = psutil.Process(json.loads(note.read_bytes())["pid"])
        server.terminate()
        server.wait()


MODELS = {"fast": "videomae", "deep": "videollama3", "speech": "whisper"}


if __name__ == "__main__":
    main()
