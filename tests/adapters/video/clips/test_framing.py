"""The crop of a clip follows what is to be seen, shot by shot, and can be put elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tasks.adapters.video.clips.framing import framing_of
from tasks.adapters.video.clips.source import read_info
from tasks.core.errors import DecodeFailed
from tasks.core.views.pictures import Cut, Framing
from tests import FIXTURES
from tests.adapters.video.clips.test_clips import cut_here, job_here
from tests.media import H264, run_ffmpeg

FACE = FIXTURES / "face.jpg"
SIZE = (640, 360)
BRIGHTER = 3
"""Columns, from each grey to the next."""


def two_shots(path: Path) -> Path:
    """A face at the left for 2 s, then for 2 s a square that moves up and down at the right."""
    face = np.asarray(Image.open(FACE).convert("RGB"))
    ramp = (np.arange(SIZE[0])[None, :, None] // BRIGHTER).astype(np.uint8)
    background = np.broadcast_to(ramp, (SIZE[1], SIZE[0], 3))
    pictures = []
    for number in range(100):
        picture = background.copy() if number < 50 else 255 - background
        if number < 50:
            picture[100 : 100 + face.shape[0], 60 : 60 + face.shape[1]] = face
        else:
            top = 40 + 4 * abs(number % 50 - 25)
            picture[top : top + 90, 500:590] = np.random.default_rng(0).integers(
                0, 255, (90, 90, 3), np.uint8
            )
        pictures.append(picture.tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", "25", "-i", "pipe:0")
    run_ffmpeg(*raw, *H264, path, stdin=b"".join(pictures))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_shots(tmp_path_factory.mktemp("videos") / "v.mp4")


CUT = Cut(0.4, 3.6, 2)


def followed(video: Path) -> list[Framing]:
    job = job_here(video, CUT, crop=(9, 16), follow=True)
    return framing_of(job, CUT, read_info(video, name="v"), count=80)


def test_the_crop_lies_on_the_face_and_then_on_what_moves(video: Path) -> None:
    first, second = followed(video)
    assert (first.start_s, first.found, second.start_s, second.found) == (0.4, "faces", 2.0, "motion")
    assert first.crop_x == pytest.approx(0.19, abs=0.04)
    assert second.crop_x - 0.158 <= 500 / 640
    assert second.crop_x + 0.158 >= 585 / 640


@pytest.mark.parametrize(
    ("more", "begins", "places"),
    [
        ({"follow": True}, 40, (0.19, 0.79)),
        ({"framing": [Framing(0, 0.5), Framing(2.4, 0.2)]}, 50, (0.5, 0.2)),
        # As many shots as ten minutes may have.
        ({"framing": [*(Framing(k / 250, 0.5) for k in range(600)), Framing(2.4, 0.2)]}, 50, (0.5, 0.2)),
    ],
)
def test_each_shot_of_the_clip_has_its_own_place(
    video: Path, more: dict[str, Any], begins: int, places: tuple[float, float]
) -> None:
    clip = cut_here(video, CUT, crop=(9, 16), **more)
    with av.open(str(clip)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (len(shown), shown[0].shape) == (80, (360, 202, 3))
    # In the last rows there is nothing but the ramp; 40 pictures on it is that of the second shot.
    greys = [float(picture[350:, 99:103].mean()) for picture in shown]
    found = [BRIGHTER * (grey if number < 40 else 255 - grey) / SIZE[0] for number, grey in enumerate(greys)]
    expected = [places[number >= begins] for number in range(80)]
    assert found == pytest.approx(expected, abs=0.05)


def test_what_is_no_wider_than_the_crop_is_not_looked_at(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    job = job_here(video, CUT, crop=(16, 9), follow=True)
    assert framing_of(job, CUT, read_info(video, name="v"), count=80) == [Framing(0.4, 0.5, "centre")]


def test_without_a_detector_the_message_says_what_to_do(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DecodeFailed, match=r"pip install 'hookline\[faces\]', or set it to false"):
        followed(video)
