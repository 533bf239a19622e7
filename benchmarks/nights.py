"""How a night grows with its library: nothing new, and one new video.

    python benchmarks/nights.py [--videos 1000 10000 100000 1000000] [--output benchmarks/results/nights.json]

All models are tiny, and the library is made (`large_library.py`): what is measured is what a night costs
besides its videos. Seconds of the flow and of the whole command, and the memory of the largest process;
beside the JSON, a chart. A million videos need some 15 GB of disk, and a million files.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deep_stage_report import at_most, machine, provenance, table
from footage import ffmpeg
from large_library import SEGMENTS, enlarge
from speed_whole import rank

from hookline.demo_models import write_demo_models
from tasks.adapters.models.checkpoints import resolve_checkpoint

RESULTS = Path(__file__).parent / "results" / "nights.json"
PEAK = Path(__file__).with_name("peak.py")

SECONDS_FOR_A_MILLION = 125
GIGABYTES_FOR_A_MILLION = 1.5
ONE_NEW_BY_NOTHING_NEW = 1.3


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where the libraries are made; empty: a temporary folder")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    nights = {}
    for videos in options.videos:
        with tempfile.TemporaryDirectory(prefix="hookline-nights-", dir=options.folder) as folder:
            nights[str(videos)] = measure(Path(folder), videos)
        print(json.dumps({str(videos): nights[str(videos)]}), file=sys.stderr, flush=True)
    goals = list(goals_of(nights))
    print(table(["goal", "measured", "wanted", "met"], [list(goal.values()) for goal in goals]))
    report = {**provenance(["python", "benchmarks/nights.py", *sys.argv[1:]]), "machine": machine()}
    report |= {"segments a video": SEGMENTS, "nights": nights, "goals": goals}
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    options.output.with_suffix(".svg").write_text(chart(nights), encoding="utf-8")


def measure(folder: Path, videos: int) -> dict[str, Any]:
    """A night with nothing new, and one with one new video, over so many."""
    write_demo_models(folder / "models")
    (folder / "videos").mkdir()
    film(folder / "videos" / "first.mp4")
    night(folder)
    enlarge(folder / "videos", folder / "output", count=videos - 1)
    nothing = night(folder)
    film(folder / "videos" / "new.mp4")
    one = night(folder)
    alone = folder / "alone"
    (alone / "videos").mkdir(parents=True)
    for name in ("first", "new"):  # as in the library, a run remembers another video
        shutil.copy(folder / "videos" / f"{name}.mp4", alone / "videos")
        own = night(alone, models=folder / "models")
    assert (nothing["unchanged"], one["unchanged"], one["ranked"]) == (videos, videos, 1)
    return {"nothing new": nothing, "one new video": one, "that video in a library of one": own}


def film(path: Path) -> None:
    """A video of ten seconds."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10", "-t", "10", "-pix_fmt", "yuv420p", str(path))


def night(folder: Path, *, models: Path | None = None) -> dict[str, Any]:
    """Seconds and memory of a run over the videos of a folder."""
    fast, deep = (
        resolve_checkpoint(str((models or folder / "models") / name)) for name in ("videomae", "videollama3")
    )
    peak = folder / "peak"
    whole, manifest = rank(
        folder / "videos",
        folder / "output",
        fast,
        deep,
        "--windows.window_seconds=5",
        "--speech.enabled=false",
        through=(str(PEAK), str(peak)),
    )
    return {
        "command": round(whole, 1),
        "flow": round(manifest["seconds"]["whole"], 1),
        "gigabytes": round(int(peak.read_text()) / 1e9, 2),
        "unchanged": manifest["counts"]["unchanged"],
        "ranked": manifest["counts"]["ranked"],
    }


def goals_of(nights: Mapping[str, Any]) -> Any:
    """The goals for the sizes that were measured."""
    if million := nights.get("1000000"):
        nothing = million["nothing new"]
        yield at_most("a million, nothing new: seconds of flow", nothing["flow"], SECONDS_FOR_A_MILLION)
        yield at_most("a million, nothing new: gigabytes", nothing["gigabytes"], GIGABYTES_FOR_A_MILLION)
    if many := nights.get("100000"):
        extra = many["one new video"]["flow"] - many["that video in a library of one"]["flow"]
        share = extra / many["nothing new"]["flow"]
        yield at_most(
            "100,000, one new, less its own work: share of nothing new", share, ONE_NEW_BY_NOTHING_NEW
        )


def chart(nights: Mapping[str, Any]) -> str:
    """Seconds of flow by the number of videos, both on logarithmic scales."""
    points = [(int(videos), found["nothing new"]) for videos, found in nights.items()]

    def x(videos: float) -> float:
        return 60 + 150 * (math.log10(videos) - 3)

    def y(seconds: float) -> float:
        return 150 - 60 * math.log10(max(seconds, 0.1))

    line = " ".join(f"{x(videos):.0f},{y(found['flow']):.0f}" for videos, found in points)
    marks = "".join(
        f'<circle cx="{x(videos):.0f}" cy="{y(found["flow"]):.0f}" r="4" fill="#d9480f"/>'
        f'<text x="{x(videos) + 8:.0f}" y="{y(found["flow"]) + 16:.0f}">'
        f"{found['flow']:g} s, {found['gigabytes']:.2f} GB</text>"
        for videos, found in points
    )
    steps = "".join(
        f'<text x="{x(10**power):.0f}" y="245" text-anchor="middle">{10**power:,}</text>'
        f'<line x1="{x(10**power):.0f}" y1="225" x2="{x(10**power):.0f}" y2="20" stroke="#ddd"/>'
        for power in range(3, 7)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 270" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="A night with nothing new by the videos of its library">'
        '<rect width="640" height="270" fill="white"/>'
        f'{steps}<polyline points="{line}" fill="none" stroke="#d9480f" stroke-width="2"/>{marks}'
        '<text x="300" y="264" text-anchor="middle">videos; seconds of the flow with nothing new</text>'
        "</svg>\n"
    )


if __name__ == "__main__":
    main()
