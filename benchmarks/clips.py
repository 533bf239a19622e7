"""What it takes to cut a clip: whole, cropped, enlarged, with a crop that follows, loudness or captions.

    python benchmarks/clips.py VIDEO    writes benchmarks/results/clips.json

Half a minute of the VIDEO, which has sound, and of a made-up one full of noise, both of 1080p. The README's
figures are those of a talk with slides. CPU seconds of ffmpeg and of what cuts with it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio_ffmpeg
from children import cpu_seconds
from cyclopts import App
from deep_stage_report import machine

from tasks.adapters.video.clips.cutting import cut_clip
from tasks.core.speech.heard import Word
from tasks.core.views.pictures import Cut

RESULTS = Path(__file__).parent / "results" / "clips.json"
SECONDS = 30
NOISE = f"testsrc2=s=1920x1080:r=25:d={SECONDS + 1},noise=alls=20:allf=t"
TALL = (9, 16)

WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "9:16": {"crop": TALL},
    "1080x1920": {"crop": TALL, "enlarged": True},
    "9:16, following": {"crop": TALL, "follow": True},
    "loudness": {"loudness": True},
    "captions": {"words": [Word(500 * n, 500 * n + 400, f"word {n}", 1.0) for n in range(2 * SECONDS)]},
}

app = App(help=__doc__)


@app.default
def main(video: Path, output: Path = RESULTS) -> None:
    """Cut each clip, and keep what it took."""
    with TemporaryDirectory() as folder:
        noise = Path(folder, "noise.mp4")
        make = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", NOISE, str(noise)]
        subprocess.run(make, check=True)
        result = {
            "command": "python benchmarks/clips.py VIDEO",
            "video": video.name,
            "seconds": SECONDS,
            "cpu_seconds": {way: cost(video, Path(folder), **how) for way, how in WAYS.items()},
            "noise": cost(noise, Path(folder), **WAYS["1080x1920"]),
            "machine": machine(),
        }
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(output.read_text(encoding="utf-8"))


def cost(video: Path, folder: Path, **how: Any) -> float:
    """CPU seconds of the processes that cut the clip."""
    before = cpu_seconds()
    cut = Cut(0, SECONDS, SECONDS / 2)
    cut_clip(video, folder, cut, name=video.name, deadline_s=600, memory_bytes=4 * 10**9, **how)
    return round(cpu_seconds() - before, 1)


if __name__ == "__main__":
    app()
