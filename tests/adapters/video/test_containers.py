"""Every container that the default pattern takes is decoded: the endings and the decoder go by one list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.video.timeline import DecodeLimits, decode_timeline, read_frames
from tasks.core.containers import CONTAINERS
from tasks.core.geometry import FrameBudget
from tasks.core.records import VideoRef
from tests.media import H264, numbered_video, read_number

LIMITS = DecodeLimits(deadline_s=60, memory_bytes=4 * 2**30, max_duration_s=3600, max_frames_bytes=2**30)
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "3")
CODECS = {
    "mov,mp4,m4a,3gp,3g2,mj2": H264,
    "matroska,webm": H264,
    "avi": ("-c:v", "mpeg4", "-q:v", "3"),
    "mpegts": H264,
    "mpeg": MPEG2,
    "flv": H264,
    "ogg": ("-c:v", "libtheora", "-q:v", "8"),
    "asf": ("-c:v", "wmv2", "-q:v", "3"),
    "mxf": MPEG2,
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_of_the_default_pattern_is_decoded(container: str, tmp_path: Path) -> None:
    path = tmp_path / f"video.{CONTAINERS[container][0]}"
    numbered_video(path, seconds=3, codec=CODECS[container])
    video = VideoRef(f"file://{path}", "etag", path.stat().st_size)
    budget = FrameBudget(max_pixels=200 * 200, min_pixels=56 * 56, multiple_of=28)
    timeline = decode_timeline(path, video, tmp_path, fps=1, budget=budget, limits=LIMITS)
    seen = [read_number(frame) for frame in read_frames(timeline, range(timeline.n_ticks))]
    # A tick is a second: its picture is one of those that begin in it.
    assert [number // 25 for number in seen] == [0, 1, 2]
    assert timeline.damage is None
