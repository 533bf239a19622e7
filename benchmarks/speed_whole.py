"""A five-minute video through `hookline rank`, against a script that treats every window on its own.

VideoMAE has its true size, VideoLLaMA3 is tiny; both are untrained. The script does what such scripts do:
seek and decode each window, one float32 pass for each, cut a clip of each candidate with ffmpeg, stock
`generate` on it. It is timed on some windows and candidates, and scaled: all cost the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from deep_stage_report import at_least
from footage import Film, Frames, ffmpeg, shoot
from naive import NaivePath
from speed_decode import read_window
from speed_fast import naive_window_seconds, write_videomae
from untrained import TINY, write_checkpoint

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.devices import pick_device
from tasks.core.records import Window
from tasks.core.scoring.answers import default_prompt
from tasks.core.scoring.windows import windows

ROOT = Path(__file__).parents[1]
CLI = (sys.executable, "-c", "from hookline.cli import main; main()")


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Seconds of both ways, and what they are made of."""
    seconds, length, some = (20, 10, 1) if quick else (300, 59, 3)
    videos = folder / "videos"
    videos.mkdir()
    shot = (320, 180) if quick else (1280, 720)
    film = shoot(videos / "film.mp4", seconds=seconds, shot=shot, size=(84, 56), preset="veryfast")
    fast = write_videomae(folder / "videomae", quick=quick)
    deep, _ = write_checkpoint(folder / "videollama3", TINY, dtype=torch.float32, device=torch.device("cpu"))
    lengths = ["--windows.window_seconds", str(length)]
    whole, manifest = rank(videos, folder / "output", fast, deep, *lengths, "--ranking.max_overlap", "1.0")
    every = windows(seconds, lengths=[length], stride=3)
    window_s = naive_window_seconds(fast, partial(read_window, film.path), every[:some])
    candidate_s = naive_candidate_seconds(deep, film, every[:some], video_s=seconds)
    candidates = manifest["counts"]["candidates"]
    naive = len(every) * window_s + candidates * candidate_s
    return {
        "windows": len(every),
        "candidates": candidates,
        "seconds": {"ours": whole, "naive": naive, "ours by stage": manifest["seconds"]},
        "throughput": manifest["throughput"],
        "naive timed on": some,
        "naive seconds": {"a window": window_s, "a candidate": candidate_s},
        "goals": [at_least("whole run: times the naive script", naive / whole, 5)],
    }


def rank(
    videos: Path, output: Path, fast: Checkpoint, deep: Checkpoint, *options: str, through: Sequence[str] = ()
) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command, started by the script `through` if one is named, and its manifest."""
    models = ["--fast.model", str(fast.path), "--deep.model", str(deep.path)]
    models.append("--speech.transcribe=false")
    start = [sys.executable, *through] if through else []
    began = time.perf_counter()
    subprocess.run(
        [*start, *CLI, "rank", videos, output, *models, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOOKLINE_LINGER_SECONDS": "0"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - began
    pointer = json.loads((output / "latest.json").read_text())
    return seconds, json.loads((output / pointer["manifest"]).read_text())


def naive_candidate_seconds(deep: Checkpoint, film: Film, some: list[Window], *, video_s: int) -> float:
    """Seconds a candidate of cutting it out, decoding the clip and answering."""
    clip = film.path.with_name("clip.mkv")
    path = NaivePath(
        deep,
        partial(_clip, film, clip),
        prompt=default_prompt(),
        video_s=video_s,
        device=pick_device(),
        dtype=torch.float32,
    )
    began = time.perf_counter()
    for window in some:
        path.answer(window, new_tokens=230)
    clip.unlink()
    return (time.perf_counter() - began) / len(some)


def _clip(film: Film, clip: Path, window: Window) -> Frames:
    """Cut a segment into a file of its own, and decode that."""
    ffmpeg(
        *("-ss", str(window.start), "-i", str(film.path), "-t", str(window.length)),
        *("-c:v", "libx264", "-preset", "veryfast", str(clip)),
    )
    return Film(clip, film.size).segment(Window(0, window.length))
