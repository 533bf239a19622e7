"""From which cosine on two windows show the same: copies of real footage, and other videos.

    python benchmarks/duplicates.py VIDEO ...    writes benchmarks/results/duplicates.json

Copies of each video are made with ffmpeg. Of each window of a copy, the most similar window of the video it
was made from counts; of each window of a video, the most similar one of all other videos. The models have the
architecture of VideoMAE, in the size of the demo and of the published base, and are UNTRAINED: the curve says
what copying does to their embeddings, and not what a trained model takes for the same.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from cyclopts import App
from deep_stage_report import machine, provenance, table
from speed_fast import write_videomae

from hookline.demo_models import write_demo_models
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.videomae import VideoMAE
from tasks.adapters.video.timeline import DecodeLimits, decode_timeline, read_frames
from tasks.core.records import VideoRef
from tasks.core.scoring.windows import windows
from tasks.core.tables.nearest import unit_vectors
from tasks.run.run import FAST_ONLY_BUDGET

RESULTS = Path(__file__).parent / "results" / "duplicates.json"
LIMITS = DecodeLimits(deadline_s=1800, memory_bytes=4 * 10**9, max_duration_s=36_000, max_frames_bytes=10**10)
SECONDS, STRIDE_S = 8, 3
CODED = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-an")
COPIES: Mapping[str, Sequence[str]] = {
    "coded again (CRF 28)": ("-crf", "28"),
    "half the size (CRF 35)": ("-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2", "-crf", "35"),
    "shifted by 1.5 s": ("-ss", "1.5", "-crf", "23"),
    "cropped to 95 %": ("-vf", "crop=trunc(iw*.95/2)*2:trunc(ih*.95/2)*2", "-crf", "23"),
    "cropped to 80 %": ("-vf", "crop=trunc(iw*.8/2)*2:trunc(ih*.8/2)*2", "-crf", "23"),
    "brighter": ("-vf", "eq=brightness=0.06", "-crf", "23"),
    "mirrored": ("-vf", "hflip", "-crf", "23"),
}
OTHERS = "other videos"
THRESHOLDS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
Vectors = npt.NDArray[np.float32]

app = App(help=__doc__)


@app.default
def main(*videos: Path, most: int = 8, output: Path = RESULTS) -> None:
    """Measure by both models, print, write. `most`: windows of each copy, evenly spread."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        copies = {video: copied(video, folder) for video in videos}
        write_demo_models(folder / "models")
        checkpoints = {
            "demo, untrained": resolve_checkpoint(str(folder / "models" / "videomae")),
            "base, untrained": write_videomae(folder / "base", quick=False),
        }
        found = {
            label: curve(VideoMAE(checkpoint), copies, folder, most=most)
            for label, checkpoint in checkpoints.items()
        }
    report = {**provenance(["python", "benchmarks/duplicates.py", "VIDEO ..."]), "machine": machine()}
    report |= {
        "window_seconds": SECONDS,
        "stride_seconds": STRIDE_S,
        "videos": [each.name for each in videos],
    }
    report |= {"thresholds": THRESHOLDS, "models": found}
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for label, of_model in found.items():
        rows = [
            [how, each["windows"], each["p5"], each["median"], *each["shares"]]
            for how, each in of_model.items()
        ]
        print(label)
        print(table(["windows of", "windows", "p5", "median", *map(str, THRESHOLDS)], rows))


def copied(video: Path, folder: Path) -> dict[str, Path]:
    """The copies of a video, by what was done to it."""
    found = {}
    for number, (how, options) in enumerate(COPIES.items()):
        found[how] = path = folder / f"{video.stem}-{number}.mp4"
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error"]
        subprocess.run([*ffmpeg, "-i", str(video), *options, *CODED, str(path)], check=True)
    return found


def curve(
    model: VideoMAE, copies: Mapping[Path, Mapping[str, Path]], folder: Path, *, most: int
) -> dict[str, dict[str, Any]]:
    """How similar windows of copies are to what they were made from, and those of videos to other videos."""
    every = {video: embedded(model, video, folder) for video in copies}
    nearest: dict[str, list[float]] = {how: [] for how in COPIES}
    for video, of_video in copies.items():
        for how, copy in of_video.items():
            cosines = embedded(model, copy, folder, most=most) @ every[video].T
            nearest[how] += cosines.max(axis=1).tolist()
    nearest[OTHERS] = []
    for video, vectors in every.items():
        rest = np.concatenate([other for name, other in every.items() if name != video])
        nearest[OTHERS] += (vectors @ rest.T).max(axis=1).tolist()
    return {how: summary(np.array(cosines)) for how, cosines in nearest.items()}


def summary(cosines: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Two quantiles, and of each threshold the share of windows that reach it."""
    p5, median = (round(float(each), 5) for each in np.quantile(cosines, [0.05, 0.5]))
    shares = [round(float(np.mean(cosines >= least)), 3) for least in THRESHOLDS]
    return {"windows": len(cosines), "p5": p5, "median": median, "shares": shares}


def embedded(model: VideoMAE, video: Path, folder: Path, *, most: int = 10**9) -> Vectors:
    """The embeddings of windows of a video, evenly spread, as they are stored, at length 1."""
    with TemporaryDirectory(dir=folder) as place:
        ref = VideoRef(str(video), "", video.stat().st_size)
        timeline = decode_timeline(video, ref, Path(place), fps=1, budget=FAST_ONLY_BUDGET, limits=LIMITS)
        every = windows(timeline.n_ticks, lengths=[SECONDS], stride=STRIDE_S)
        places = np.linspace(0, len(every) - 1, min(most, len(every))).astype(int)
        features = model.features(lambda ticks: read_frames(timeline, ticks), [every[n] for n in places])
    return unit_vectors(features.embeddings.astype(np.float16).astype(np.float32))


if __name__ == "__main__":
    app()
