"""How well the third night of a library is told by the first two: what was expected beside what it took.

    python benchmarks/estimates.py [--output benchmarks/results/estimates.json]

All models are tiny. Videos of 8 to 60 seconds; the nights differ in how many there are. The estimate is that
of a dry run before the night, which the manifest keeps beside what the night took.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from deep_stage_report import at_most, machine, provenance, table
from footage import ffmpeg
from speed_whole import rank

from hookline.demo_models import write_demo_models
from tasks.adapters.models.checkpoints import resolve_checkpoint

RESULTS = Path(__file__).parent / "results" / "estimates.json"
NIGHTS = (24, 6, 14)
"""New videos of each night."""

SECONDS = (8, 60)
OFF = 0.25
"""How far from the truth the estimate may be."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hookline-estimates-") as folder:
        nights = measure(Path(folder))
    ratio = nights[-1]["took by expected"]
    goal = at_most("third night: off by a share of what was expected", abs(ratio - 1), OFF)
    print(table(list(nights[0]), [list(night.values()) for night in nights]))
    print(table(["goal", "measured", "wanted", "met"], [list(goal.values())]))
    report = {**provenance(["python", "benchmarks/estimates.py", *sys.argv[1:]]), "machine": machine()}
    options.output.write_text(json.dumps(report | {"nights": nights, "goals": [goal]}, indent=1) + "\n")


def measure(folder: Path) -> list[dict[str, Any]]:
    """The nights one after the other, and what was expected of each."""
    write_demo_models(folder / "models")
    fast, deep = (resolve_checkpoint(str(folder / "models" / name)) for name in ("videomae", "videollama3"))
    (folder / "videos").mkdir()
    draw = random.Random(0)
    nights = []
    for number, new in enumerate(NIGHTS, 1):
        for video in range(new):
            film(folder / "videos" / f"{number}-{video:03}.mp4", seconds=draw.randint(*SECONDS))
        _, manifest = rank(folder / "videos", folder / "output", fast, deep, "--windows.window_seconds=5")
        expected = manifest["estimate"] or {}
        seconds = expected.get("seconds") or {}
        nights.append(
            {
                "night": number,
                "new videos": manifest["counts"]["ranked"],
                "hours of video": round(manifest["hours_of_video"], 3),
                "hours expected": expected.get("hours_of_video"),
                "seconds": round(manifest["seconds"]["whole"], 2),
                "seconds expected": seconds.get("whole"),
                "low": expected.get("low"),
                "high": expected.get("high"),
                "took by expected": expected.get("took_by_expected"),
            }
        )
        print(json.dumps(nights[-1]), file=sys.stderr, flush=True)
    return nights


def film(path: Path, *, seconds: int) -> None:
    """A small video with a tone."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={seconds}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"),
        *("-pix_fmt", "yuv420p", "-shortest", str(path)),
    )


if __name__ == "__main__":
    main()
