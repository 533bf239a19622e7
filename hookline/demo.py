"""The demo: sample videos and untrained models made on the spot, ranked by the real pipeline."""

from __future__ import annotations

from pathlib import Path

import ffmpeg
import imageio_ffmpeg
from rich.console import Console

from hookline.demo_models import write_demo_models
from hookline.run import run_embedded
from tasks.core.settings import Deep, Engine, Fast, Ranking, Settings, Windows

SAMPLES = {
    "test-card.mp4": ["testsrc2", "smptehdbars", "rgbtestsrc", "testsrc"],
    "fractal.mp4": ["mandelbrot", "sierpinski=seed=1:type=triangle", "gradients=seed=2", "cellauto=seed=3"],
    "life.mkv": ["life=mold=10:seed=4", "yuvtestsrc", "life=mold=50:seed=5:ratio=0.2", "gradients=seed=6"],
}
"""Sample videos: four scenes each, from ffmpeg's own picture generators."""

SCENE_SECONDS = 24

UNTRAINED = (
    "These are untrained demo models: they rank at random. For real rankings:\n"
    "hookline rank s3://BUCKET/VIDEOS s3://BUCKET/RANKINGS"
)


def run_demo(folder: Path) -> int:
    """Make what is missing in `folder` and rank it; returns the exit code of the run."""
    console = Console()
    videos, models = folder / "videos", folder / "models"
    console.print(f"Making {len(SAMPLES)} sample videos and untrained demo models in {folder}/ ...")
    make_videos(videos)
    write_demo_models(models)
    settings = Settings(
        source=str(videos),
        output=str(folder / "output"),
        fast=Fast(model=str(models / "videomae")),
        deep=Deep(model=str(models / "videollama3")),
        windows=Windows(window_seconds=[15]),  # of 96 s: several moments a video
        ranking=Ranking(top_n=5),
        engine=Engine(device="cpu"),  # plenty for these, and a GPU that cannot be used is no obstacle
    )
    code = run_embedded(settings)
    console.print(f"[yellow]{UNTRAINED}[/]", highlight=False)
    return code


def make_videos(folder: Path) -> None:
    """Draw the sample videos that are not there yet: 480 x 270, 24 frames a second."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, sources in SAMPLES.items():
        if (folder / name).exists():
            continue
        scenes = [
            ffmpeg.input(_drawn(source), f="lavfi", t=SCENE_SECONDS)
            .filter("setsar", 1)
            .filter("format", "yuv420p")
            for source in sources
        ]
        part = folder / f"part-{name}"
        command = ffmpeg.concat(*scenes).output(str(part), vcodec="libx264", preset="veryfast")
        command.global_args("-nostdin", "-loglevel", "error").run(cmd=imageio_ffmpeg.get_ffmpeg_exe())
        part.replace(folder / name)


def _drawn(source: str) -> str:
    return f"{source}{':' if '=' in source else '='}size=480x270:rate=24"
