"""What it would cost to keep frames as large as the shortest of several window lengths allows.

    python benchmarks/frame_sizes.py VIDEO ...    writes benchmarks/results/frame_sizes.json

Each video is decoded at the size of segments of 59 s, as a run with windows of 15 and 59 s does, and at that
of 15 s. Also how far the larger frames, resized for the segments of 59 s, are from the smaller ones.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from children import cpu_seconds
from deep_stage_report import machine, provenance, table
from torch.nn import functional

from tasks.adapters.models.videollama3.config import FrameSpec
from tasks.adapters.models.videollama3.frames import changed_tokens
from tasks.adapters.video.timeline import DecodeLimits, decode_timeline, read_frames
from tasks.core.geometry import FrameBudget
from tasks.core.records import Timeline, VideoRef

RESULTS = Path(__file__).parent / "results" / "frame_sizes.json"
SPEC = FrameSpec(14, 2, 16, 16384, 1 / 255, (0.5,) * 3, (0.5,) * 3, compress=True)
"""As the published checkpoints have it."""

TOKEN_PIXELS = SPEC.token_side**2
LIMITS = DecodeLimits(deadline_s=1800, memory_bytes=4 * 10**9, max_duration_s=1e5, max_frames_bytes=10**11)
REPEATS = 3


def main() -> None:
    """Measure, print, write."""
    found = {Path(path).name: measure(Path(path)) for path in sys.argv[1:]}
    rows = [
        [name, f"{length} s", *size.values()]
        for name, video in found.items()
        for length, size in video["sizes"].items()
    ]
    print(table(["video", "segments", "width", "height", "tokens", "GB an hour", "CPU s to decode"], rows))
    away = [[name, *video["away"]] for name, video in found.items()]
    print(table(["video", "mean levels", "p99", "tokens kept otherwise"], away))
    report = {**provenance(["python", "benchmarks/frame_sizes.py", "VIDEO ..."]), "machine": machine()}
    RESULTS.write_text(json.dumps({**report, "videos": found}, indent=1) + "\n", encoding="utf-8")


def measure(path: Path) -> dict[str, Any]:
    """Sizes and costs by length of the segments, and the distance of what is resized."""
    with tempfile.TemporaryDirectory() as folder:
        decoded = {length: decode(path, Path(folder), length) for length in (59, 15)}
        pictures = [frames(timeline) for timeline, _ in decoded.values()]
    return {
        "sizes": {length: costs(*found) for length, found in decoded.items()},
        "away": distance(*pictures),
    }


def decode(path: Path, folder: Path, length: int) -> tuple[Timeline, float]:
    """The video at the size of segments of so many seconds, and the CPU seconds of the fastest try."""
    pixels = SPEC.max_tokens * TOKEN_PIXELS
    budget = FrameBudget(pixels // length, SPEC.min_tokens * TOKEN_PIXELS, SPEC.token_side, pixels)
    video = VideoRef(str(path), "", path.stat().st_size)
    (place := folder / str(length)).mkdir()
    times = []
    for _ in range(REPEATS):
        began = cpu_seconds()
        timeline = decode_timeline(path, video, place, fps=1, budget=budget, limits=LIMITS)
        times.append(cpu_seconds() - began)
    return timeline, min(times)


def frames(timeline: Timeline) -> torch.Tensor:
    """Those of a segment of 59 s."""
    return torch.tensor(read_frames(timeline, range(min(59, timeline.n_ticks))))


def costs(timeline: Timeline, decode_s: float) -> dict[str, float]:
    """The size of a frame, what an hour of video takes on scratch, and decoding."""
    pixels = timeline.width * timeline.height
    return {
        "width": timeline.width,
        "height": timeline.height,
        "tokens": pixels // TOKEN_PIXELS,
        "gb_an_hour": 3600 * timeline.fps * 3 * pixels / 1e9,
        "decode_cpu_s": decode_s,
    }


def distance(small: torch.Tensor, large: torch.Tensor) -> tuple[float, float, float]:
    """How far large frames, resized as PIL does it, are from small ones.

    Mean and 99th percentile of the levels, and the share of tokens that only one of both keeps.
    """
    size = small.shape[1:3]
    images = large.permute(0, 3, 1, 2).float()
    resized = functional.interpolate(images, size, mode="bicubic", antialias=True)
    resized = resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    away = (resized.float() - small.float()).abs().flatten()
    kept, otherwise = (changed_tokens(some[1:], some[:-1], SPEC) for some in (small, resized))
    top = float(away.kthvalue(int(0.99 * len(away))).values)
    return float(away.mean()), top, float((kept != otherwise).float().mean())


if __name__ == "__main__":
    main()
