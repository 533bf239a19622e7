"""Frames look as the models were trained to see them, whichever decoder made them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.adapters.video.test_timeline import H264, frames_of, timeline_of
from tests.media import run_ffmpeg

SCENE = "mandelbrot=size=640x360:rate=5:start_scale=0.5,format=yuv420p"


def decibels(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """PSNR."""
    return float(20 * np.log10(255 / np.sqrt(((one.astype(np.float64) - other) ** 2).mean())))


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
def test_frames_are_scaled_as_pil_does(tmp_path: Path, decoder: str) -> None:
    source = tmp_path / "a.mp4"
    run_ffmpeg("-f", "lavfi", "-t", "1", "-i", SCENE, *H264, "-colorspace", "smpte170m", source)
    timeline = timeline_of(source, decoder=decoder)
    with av.open(str(source)) as container:
        *_, last = container.decode(video=0)
    whole = last.to_ndarray(format="rgb24", interpolation="BICUBIC")
    wanted = Image.fromarray(whole).resize((timeline.width, timeline.height), Image.Resampling.BICUBIC)
    assert decibels(frames_of(timeline)[0], np.asarray(wanted)) > 40  # bilinear: 31
