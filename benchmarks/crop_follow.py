"""Whether faces stay inside of a 9:16 crop: one that follows, beside the middle.

    python benchmarks/crop_follow.py VIDEO ...    writes benchmarks/results/crop_follow.json

A made-up clip of 40 s shows a face in eight shots of 5 s, at places drawn at random, in every other walking:
where it is in each picture is known. The VIDEOs are those of `SEEN`, in which somebody looked for every face:
tests/resources/issue-195-aspect-ratio.mp4 of PySceneDetect, demo/data/gallery/01_dog.mp4 of sam2 and
examples/flipping_a_pancake.mkv of decord. A face is inside if all of it is, without hair and ears.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio_ffmpeg
import numpy as np
from children import cpu_seconds
from cyclopts import App
from PIL import Image

from tasks.adapters.video.clips.cutting import Clip, cut_clip
from tasks.adapters.video.clips.source import read_info
from tasks.core.views.pictures import Cut

HERE = Path(__file__).parent
RESULTS, FACE = HERE / "results" / "crop_follow.json", HERE.parent / "tests" / "fixtures" / "face.jpg"
WIDTH, HEIGHT, RATE, SHOTS, SHOT_S, SEED = 1280, 720, 25, 8, 5, 3
INNER = 0.65
"""Of the width of the picture of a face: the face."""

Faces = Sequence[tuple[float, float, float]]
"""When, and from where to where, in shares of the width."""

SEEN: dict[str, tuple[float, Faces]] = {
    "workshop_25s_sar.mp4": (
        25,
        [
            *((7.0, 0.254, 0.329), (7.5, 0.251, 0.319), (8.0, 0.242, 0.310), (8.5, 0.263, 0.337)),
            *((9.0, 0.298, 0.372), (9.5, 0.306, 0.390), (10.0, 0.316, 0.390), (10.5, 0.319, 0.400)),
            *((11.0, 0.316, 0.395), (11.5, 0.263, 0.337)),
            *((7.0, 0.449, 0.519), (7.5, 0.474, 0.548), (8.0, 0.462, 0.540), (8.5, 0.458, 0.536)),
            *((9.0, 0.462, 0.540), (9.5, 0.462, 0.542), (10.0, 0.469, 0.548), (10.5, 0.464, 0.545)),
            *((11.0, 0.469, 0.540), (11.5, 0.468, 0.542)),
        ],
    ),
    "dog_10s.mp4": (
        9.6,
        [
            *((0, 0.322, 0.350), (1, 0.238, 0.260), (2, 0.215, 0.234), (3, 0.313, 0.333), (4, 0.267, 0.288)),
            *((5, 0.261, 0.283), (6, 0.207, 0.229), (7, 0.180, 0.196), (8, 0.164, 0.193), (9, 0.313, 0.334)),
        ],
    ),
    "pancake.mkv": (
        10.3,
        [
            *((0, 0.385, 0.575), (1, 0.480, 0.590), (2, 0.470, 0.580), (3, 0.510, 0.596), (4, 0.485, 0.580)),
            *((5, 0.495, 0.580), (6, 0.570, 0.646), (7, 0.560, 0.640), (8, 0.520, 0.626), (9, 0.480, 0.600)),
            (10, 0.520, 0.676),
        ],
    ),
}
"""How long each is cut, and its faces."""

app = App(help=__doc__)


@app.default
def main(*videos: Path, output: Path = RESULTS) -> None:
    """Cut all clips with and without, and write down where their faces were."""
    with TemporaryDirectory() as folder:
        made_up = Path(folder, "made-up.mp4")
        clips = {"made-up": measured(made_up, SHOTS * SHOT_S, make_up(made_up), Path(folder))}
        clips |= {video.name: measured(video, *SEEN[video.name], Path(folder)) for video in videos}
    result = {"command": "python benchmarks/crop_follow.py VIDEO ...", "clips": clips}
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(output.read_text(encoding="utf-8"))


def measured(video: Path, seconds: float, faces: Faces, folder: Path) -> dict[str, Any]:
    """Which share of the faces is inside, and what both clips cost."""
    width, height = read_info(video, name=video.name).size
    found: dict[str, Any] = {"seconds": seconds, "size": f"{width}x{height}", "faces": len(faces)}
    for way in ("centre", "follow"):
        before = cpu_seconds()
        clip = cut_clip(
            video,
            folder,
            Cut(0, seconds, seconds / 2),
            name=video.name,
            crop=(9, 16),
            follow=way == "follow",
            deadline_s=600,
            memory_bytes=4 * 10**9,
        )
        found[way] = {
            "inside": inside(clip, faces, share=9 / 16 * height / width),
            "cpu_seconds": round(cpu_seconds() - before, 1),
            "crop_x": [[each.start_s, each.crop_x, each.found] for each in clip.framing],
        }
    return found


def inside(clip: Clip, faces: Faces, *, share: float) -> float:
    """Which share of the faces lies inside the crop, which has this share of the width."""
    held = []
    for at_s, left, right in faces:
        crop_x = [each.crop_x for each in clip.framing if each.start_s <= at_s + 0.001][-1]
        held.append(crop_x - share / 2 <= left and right <= crop_x + share / 2)
    return round(sum(held) / len(held), 3)


def make_up(video: Path) -> Faces:
    """Writes the made-up clip, and says where the face is in each of its pictures."""
    random = np.random.default_rng(SEED)
    face = np.asarray(Image.open(FACE).convert("RGB"))
    high, wide = face.shape[:2]
    faces: list[tuple[float, float, float]] = []
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "-", "-pix_fmt", "yuv420p", str(video)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        for shot in range(SHOTS):
            patches = Image.fromarray(random.integers(40, 200, (9, 16, 3)).astype(np.uint8))
            background = np.asarray(patches.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
            start, top = random.uniform(0, WIDTH - wide), int(random.uniform(0, HEIGHT - high))
            walk = random.uniform(-0.3, 0.3) * WIDTH if shot % 2 else 0
            for part in np.arange(SHOT_S * RATE) / (SHOT_S * RATE):
                left = int(np.clip(start + walk * part, 0, WIDTH - wide))
                picture = background.copy()
                picture[top : top + high, left : left + wide] = face
                process.stdin.write(picture.tobytes())
                edges = (left + wide * (1 - INNER) / 2, left + wide * (1 + INNER) / 2)
                faces.append((len(faces) / RATE, edges[0] / WIDTH, edges[1] / WIDTH))
    return faces


if __name__ == "__main__":
    app()
