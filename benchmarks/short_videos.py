"""What a process of its own costs a video: forked from one that has imported all, or with its own imports.

    python benchmarks/short_videos.py    writes benchmarks/results/short_videos.json

The two take turns, 20 times over a video of 2 s and one of a minute, 480 x 270; medians, in seconds.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import ffmpeg
import imageio_ffmpeg
from children import cpu_seconds
from deep_stage_report import machine, provenance

from tasks.adapters.video.sandbox import fork_server
from tasks.adapters.video.timeline import DecodeLimits, decode_timeline
from tasks.core.geometry import FrameBudget
from tasks.core.records import VideoRef

RESULTS = Path(__file__).parent / "results" / "short_videos.json"
SECONDS, TIMES = (2, 60), 20
BUDGET = FrameBudget(max_pixels=112 * 112, min_pixels=28 * 28, multiple_of=28)
LIMITS = DecodeLimits(deadline_s=60, memory_bytes=4 * 10**9, max_duration_s=3600, max_frames_bytes=10**9)


def main() -> None:
    """Measure, print, write."""
    with TemporaryDirectory() as folder:
        found = {f"{seconds} s": compared(Path(folder), seconds) for seconds in SECONDS}
    report = {**provenance(["python", "benchmarks/short_videos.py"]), "machine": machine(), "seconds": found}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def compared(folder: Path, seconds: int) -> dict[str, Any]:
    video = folder / f"{seconds}.mp4"
    picture = ffmpeg.input("testsrc2=size=480x270:rate=25", f="lavfi", t=seconds)
    picture.output(str(video), pix_fmt="yuv420p").run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    taken: dict[str, list[tuple[float, float]]] = {"with its own imports": [], "forked": []}
    for _ in range(TIMES):
        fork_server.close()
        for each in taken.values():  # the first starts the fork server, which imports; the second finds it
            each.append(decode(video, folder))
    own, forked = (list(map(median, zip(*each, strict=True))) for each in taken.values())
    ratio = [ours / before for ours, before in zip(forked, own, strict=True)]
    figures = dict(zip((*taken, "ratio"), (own, forked, ratio), strict=True))
    return {name: dict(zip(("wall", "cpu"), each, strict=True)) for name, each in figures.items()}


def decode(video: Path, folder: Path) -> tuple[float, float]:
    """The wall time and the CPU time of decoding a video, in this process and in those it starts."""
    began, used = time.perf_counter(), time.process_time() + cpu_seconds()
    decode_timeline(video, VideoRef(video.name, "", 1), folder, fps=1, budget=BUDGET, limits=LIMITS)
    return time.perf_counter() - began, time.process_time() + cpu_seconds() - used


if __name__ == "__main__":
    main()
