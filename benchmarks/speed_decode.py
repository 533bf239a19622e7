"""Decoding a five-minute video onto the grid, against ffmpeg's own pass and against seeking per window."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import decord
from deep_stage_report import at_least, at_most
from footage import LIMITS, ffmpeg, shoot

from tasks.adapters.video.timeline import decode_timeline
from tasks.core.geometry import FrameBudget
from tasks.core.records import VideoRef, Window
from tasks.core.scoring.windows import sample_ticks, windows

BUDGET = FrameBudget(max_pixels=616 * 336, min_pixels=112 * 112, multiple_of=28)
"""The size VideoLLaMA3 wants frames of 59 s segments to have."""

PRESETS = {"B-frames (x264 veryfast)": "veryfast", "no B-frames (x264 ultrafast)": "ultrafast"}


@dataclass(frozen=True, slots=True)
class Case:
    """A video of `seconds`; every way but the naive one is timed `repeats` times."""

    seconds: int = 300
    length: int = 59
    shot: tuple[int, int] = (1280, 720)
    repeats: int = 3


QUICK = Case(seconds=20, length=10, shot=(320, 180), repeats=1)


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Seconds by coding of the video: ours, the floor, the naive way."""
    case = QUICK if quick else Case()
    videos = {name: _one(folder / f"{preset}.mp4", preset, case) for name, preset in PRESETS.items()}
    goals = []
    for name, seconds in videos.items():
        goals += [
            at_most(f"decode, {name}: times the ffmpeg floor", seconds["ours"] / seconds["floor"], 1.15),
            at_least(f"decode, {name}: times the naive way", seconds["naive"] / seconds["ours"], 10),
        ]
    return {"case": asdict(case), "seconds": videos, "goals": goals}


def _one(path: Path, preset: str, case: Case) -> dict[str, float]:
    shoot(path, seconds=case.seconds, shot=case.shot, size=(616, 336), preset=preset)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: _timeline(path),
        "floor": lambda: ffmpeg("-i", str(path), "-map", "0:V:0", "-vf", "fps=1", "-f", "null", "-"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(case.repeats):  # in turn, so that a machine that slows down slows all
        for name, way in ways.items():
            times[name].append(_seconds(way))
    naive = _seconds(lambda: seek_every_window(path, case))
    return {**{name: median(seconds) for name, seconds in times.items()}, "naive": naive}


def seek_every_window(path: Path, case: Case) -> None:
    """Each window on its own: open the video, seek its 16 frames with decord at full size."""
    for window in windows(case.seconds, lengths=[case.length], stride=3):
        read_window(path, window)


def read_window(path: Path, window: Window) -> Any:
    """The 16 frames of one window of a video of 25 frames a second."""
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0))
    last = len(reader) - 1
    return reader.get_batch([min(25 * tick, last) for tick in sample_ticks(window, count=16)]).asnumpy()


def _timeline(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        video = VideoRef(str(path), "", path.stat().st_size)
        decode_timeline(path, video, Path(folder), fps=1, budget=BUDGET, limits=LIMITS)


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
