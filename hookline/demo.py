"""The demo: sample videos and untrained models made on the spot, ranked by the real pipeline."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ffmpeg
import imageio_ffmpeg
from rich.console import Console

from hookline.demo_models import write_demo_models
from hookline.run import run_embedded
from tasks.core.settings import Deep, Engine, Fast, Ranking, Settings, Speech, Windows

# Without named colours, `gradients` draws other ones each time, whatever its seed.
DUSK = "gradients=nb_colors=2:c0=navy:c1=orange:x0=0:y0=0:x1=479:y1=269"
SPIRAL = "gradients=nb_colors=2:c0=teal:c1=gold:x0=240:y0=135:x1=479:y1=269:type=spiral"

SAMPLES = {
    "test-card.mp4": ["testsrc2", "smptehdbars", "rgbtestsrc", "testsrc"],
    "fractal.mp4": ["mandelbrot", "sierpinski=seed=1:type=triangle", DUSK, "cellauto=seed=3"],
    "life.mkv": ["life=mold=10:seed=4", "yuvtestsrc", "life=mold=50:seed=5:ratio=0.2", SPIRAL],
}
"""Sample videos: four scenes each, from ffmpeg's own picture generators. They are the same each time."""

SCENE_SECONDS = 16

SPOKEN = {
    "test-card.mp4": (
        "Nobody watches a test card. So why did six million people watch this one?",
        "Look at the bars: each of them is a promise about a colour.",
        "And here is the trick. It only works once.",
        "That is it. No moral, no music, just the clock.",
    ),
    "fractal.mp4": (
        "What happens if you never stop zooming in?",
        "You find triangles. Inside of them you find triangles again.",
        "I tried this for a whole week, and then my screen went dark.",
        "Would you have gone on?",
    ),
    "life.mkv": (
        "Four rules. That is all it takes to make something that looks alive.",
        "Wait for it. Everything you see here came from noise.",
        "Most of it dies within a minute, and nobody knows in advance what stays.",
        "Now tell me that this is not a story.",
    ),
}
"""What is said in each scene, where espeak-ng is installed; elsewhere each has a tone."""

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
        windows=Windows(window_seconds=[10]),  # of 64 s: several moments a video
        speech=Speech(transcribe=False),  # the words of an untrained model would pass for what is said
        ranking=Ranking(top_n=5),
        engine=Engine(device="cpu"),  # plenty for these, and a GPU that cannot be used is no obstacle
    )
    code = run_embedded(settings)
    console.print(f"[yellow]{UNTRAINED}[/]", highlight=False)
    return code


def make_videos(folder: Path) -> None:
    """Make the sample videos that are not there yet: 480 x 270, 12 frames a second, with sound."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, sources in SAMPLES.items():
        if (folder / name).exists():
            continue
        with TemporaryDirectory(dir=folder, prefix=".") as voices:
            scenes = []
            for number, source in enumerate(sources):
                picture = ffmpeg.input(_drawn(source), f="lavfi", t=SCENE_SECONDS)
                sound = _sound(SPOKEN[name][number], Path(voices) / f"{number}.wav", number)
                scenes += [picture.filter("setsar", 1).filter("format", "yuv420p"), sound]
            part = Path(voices) / name
            joined = ffmpeg.concat(*scenes, v=1, a=1).node
            # x264 takes as many threads as fit the cores, and with more or fewer it makes other pictures.
            coding = {"vcodec": "libx264", "preset": "veryfast", "threads": 1, "acodec": "aac"}
            command = ffmpeg.output(joined[0], joined[1], str(part), **coding)
            command.global_args("-nostdin", "-loglevel", "error").run(cmd=imageio_ffmpeg.get_ffmpeg_exe())
            part.replace(folder / name)


def _sound(text: str, voice: Path, number: int) -> Any:
    """The sound of a scene: somebody says this, or there is a tone."""
    if program := shutil.which("espeak-ng"):
        subprocess.run([program, "-v", "en-us", "-s", "150", "-w", voice, text], check=True)
        said = ffmpeg.input(str(voice)).filter("aresample", 44100).filter("adelay", "1000")
        return said.filter("apad", whole_dur=SCENE_SECONDS).filter("atrim", end=SCENE_SECONDS)
    tone = f"sine=frequency={220 + 110 * number}:sample_rate=44100"
    return ffmpeg.input(tone, f="lavfi", t=SCENE_SECONDS).filter("volume", 0.2)


def _drawn(source: str) -> str:
    return f"{source}{':' if '=' in source else '='}size=480x270:rate=12"
