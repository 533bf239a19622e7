"""What the flow costs besides the work, and how time and memory grow with a library.

All models are the tiny untrained demo models, and the deep stage is off, so that next to nothing hides
what the flow itself takes. Memory is that of the largest process of a run.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from deep_stage_report import at_most
from footage import ffmpeg
from library import multiply
from speed_whole import rank

from hookline.demo_models import write_demo_models
from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.videomae import load_videomae
from tasks.adapters.video.timeline import read_frames
from tasks.core.records import Analysis, Timeline
from tasks.core.scoring.windows import MAX_BATCH, batches, windows
from tasks.core.settings import Settings
from tasks.run.concurrency import run_concurrently
from tasks.run.run import FAST_ONLY_BUDGET
from tasks.work.opening import RANKED_PER_GPU, close_timeline, open_video
from tasks.work.spec import RunSpec

DEEP_OFF = "--deep.enabled=false"
PEAK = Path(__file__).with_name("peak.py")

WITH_MODELS_S = 200.0
"""Seconds that VideoMAE base alone takes for a five-minute video on two such cores."""


def orchestration(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Seconds of a run over long videos, with the flow and without it; and of a night with nothing new."""
    count, seconds, library = (2, 60, 8) if quick else (20, 300, 10_000)
    models = _models(folder)
    videos = loops(folder / "videos", [seconds] * count)
    flow, manifest = rank_alone(videos, folder / "output", *models)
    inside = manifest["seconds"]["whole"]
    began = time.perf_counter()
    without_flow(videos, models[0], folder / "scratch")
    bare = time.perf_counter() - began
    few = loops(folder / "few", [70] * 4)
    rank_alone(few, folder / "night", *models)
    multiply(few, folder / "night", times=library // 4)
    night, quiet = rank_alone(few, folder / "night", *models)
    extra = max(0.0, inside - bare)
    return {
        "videos": count,
        "seconds": {"command": flow, "run": inside, "same work without a flow": bare, "nothing new": night},
        "seconds of the run with nothing new": quiet["seconds"]["whole"],
        "listed": quiet["counts"]["listed"],
        "unchanged": quiet["counts"]["unchanged"],
        "goals": [
            at_most(
                f"orchestration: share of a run of {count} videos with VideoMAE base",
                extra / (count * WITH_MODELS_S + extra),
                0.03,
            ),
            at_most("orchestration: seconds of a night with nothing new", night, 10),
        ],
    }


def growth(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Seconds and memory by length of one video, and by number of short ones."""
    minutes, counts = ((1, 3), (1, 3)) if quick else ((1, 3, 10, 60, 180), (1, 10, 100, 500))
    models = _models(folder)
    long, short = {}, {}
    for length in minutes:
        videos = loops(folder / f"{length}-minutes", [60 * length])
        long[length] = measured(videos, folder / f"long-{length}", *models)
    for count in counts:
        videos = loops(folder / f"{count}-videos", [10] * count)
        short[count] = measured(videos, folder / f"short-{count}", *models)
    largest, small = long[minutes[-1]], long[3]
    goal = "growth: memory of the longest video by that of one of 3 minutes"
    return {
        "minutes": long,
        "videos of 10 s": short,
        "goals": [at_most(goal, largest["peak_bytes"] / small["peak_bytes"], 1.3)],
    }


def measured(videos: Path, output: Path, *models: Checkpoint) -> dict[str, Any]:
    """Seconds of a run, and the peak memory of its largest process."""
    peak = output.with_suffix(".peak")
    seconds, manifest = rank(videos, output, *models, DEEP_OFF, through=(str(PEAK), str(peak)))
    return {
        "seconds": seconds,
        "run": manifest["seconds"]["whole"],
        "peak_bytes": int(peak.read_text()),
        "ranked": manifest["counts"]["ranked"],
    }


def rank_alone(videos: Path, output: Path, *models: Checkpoint) -> tuple[float, dict[str, Any]]:
    """As `hookline rank`, without the deep stage."""
    return rank(videos, output, *models, DEEP_OFF)


def without_flow(videos: Path, fast: Checkpoint, scratch: Path) -> None:
    """The work of such a run by plain functions, as much of it at once."""
    settings = Settings.model_validate({"source": str(videos), "output": "unused"})
    no_deep = Analysis.skipped("disabled")
    spec = RunSpec("bare", datetime.now(UTC), settings, fast, no_deep, None, FAST_ONLY_BUDGET)
    model = load_videomae(fast)

    def work(video: Any) -> None:
        timeline = open_video(video, spec, scratch)
        assert isinstance(timeline, Timeline)
        every = windows(timeline.n_ticks, lengths=[59], stride=3)
        for batch in batches(every, size=MAX_BATCH):
            model.features(partial(read_frames, timeline), batch)
        close_timeline(timeline)

    run_concurrently(work, spec.source.videos("**/*"), at_once=lambda: RANKED_PER_GPU + 1)


def loops(folder: Path, lengths: list[int]) -> Path:
    """Videos of so many seconds each: the same ten seconds over and over, copied without coding anew."""
    folder.mkdir()
    once = folder / "once.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10", "-t", "10"),
        *("-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p", str(once)),
    )
    for number, seconds in enumerate(lengths):
        more = str(-(-seconds // 10) - 1)
        ffmpeg("-stream_loop", more, "-i", str(once), "-c", "copy", str(folder / f"{number:03}.mp4"))
    once.unlink()
    return folder


def _models(folder: Path) -> tuple[Checkpoint, Checkpoint]:
    write_demo_models(folder / "models")
    fast, deep = (resolve_checkpoint(str(folder / "models" / name)) for name in ("videomae", "videollama3"))
    return fast, deep
