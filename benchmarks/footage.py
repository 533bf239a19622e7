"""What the benchmarks show a model: a video made with ffmpeg, or frames that are drawn."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.adapters.video.timeline import DecodeLimits, decode_timeline, read_frames
from tasks.core.geometry import FrameBudget
from tasks.core.records import ReadFrames, VideoRef, Window

Frames = npt.NDArray[np.uint8]

LIMITS = DecodeLimits(deadline_s=600, memory_bytes=8 * 2**30, max_duration_s=3600, max_frames_bytes=8 * 2**30)


@dataclass(frozen=True, slots=True)
class Film:
    """A video file; its frames are wanted at one a second, `size` (width and height) small."""

    path: Path
    size: tuple[int, int]

    def timeline(self, budget: FrameBudget) -> ReadFrames:
        """Decode the whole film once, as Hookline does; how to read what came of it."""
        folder = Path(tempfile.mkdtemp(dir=self.path.parent))
        video = VideoRef(uri=str(self.path), etag="", size_bytes=self.path.stat().st_size)
        timeline = decode_timeline(self.path, video, folder, fps=1, budget=budget, limits=LIMITS)
        assert (timeline.width, timeline.height) == self.size
        return lambda ticks: read_frames(timeline, ticks)

    def segment(self, window: Window) -> Frames:
        """Seek and decode one segment, as one does who has only this segment in mind."""
        width, height = self.size
        frames = ffmpeg(
            *("-ss", str(window.start), "-i", str(self.path), "-t", str(window.length)),
            *("-vf", f"fps=1,scale={width}:{height}", "-frames:v", str(window.length)),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
        )
        return np.frombuffer(frames, dtype=np.uint8).reshape(window.length, height, width, 3)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Frames that are there already, where nothing can be decoded."""

    frames: Frames

    def timeline(self, budget: FrameBudget | None = None) -> ReadFrames:
        """How to read them; they have their size already."""
        return lambda ticks: self.frames[list(ticks)]

    def segment(self, window: Window) -> Frames:
        """Those of one segment."""
        return self.frames[window.start : window.end]


def shoot(
    path: Path, *, seconds: int, shot: tuple[int, int], size: tuple[int, int], preset: str = "ultrafast"
) -> Film:
    """Make an H.264 video of `shot` width and height: a still background, and things that move on it.

    `preset` is x264's: `ultrafast` makes no B-frames, all others do.
    """
    wide, high = shot
    scene = (
        f"testsrc2=size={wide}x{high}:rate=25[still];color=c=orange:size={wide // 6}x{high // 3}:rate=25[box]"
    )
    move = f"[still][box]overlay=x='mod(t*{wide // 12},{wide})':y='mod(t*{high // 15},{high})'"
    ffmpeg(
        *("-filter_complex", f"{scene};{move}", "-t", str(seconds)),
        *("-c:v", "libx264", "-preset", preset, "-pix_fmt", "yuv420p", str(path)),
    )
    return Film(path, size)


def draw(n: int, *, size: tuple[int, int]) -> Drawing:
    """`n` frames of `size` width and height: the right half is a still picture, in the left a wave moves."""
    width, height = size
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8), n, axis=0)
    down, across = np.mgrid[:height, : width // 2]
    for tick, frame in enumerate(frames):
        wave = 127 + 127 * np.sin((down + across * np.cos(tick / 7)) / 9 + tick / 2)
        frame[:, : width // 2] = wave[..., None].astype(np.uint8)
    return Drawing(frames)


def candidates(n: int, *, seconds: int, length: int) -> Sequence[Window]:
    """`n` segments of `length` seconds, evenly spread over the whole video."""
    starts = [i * (seconds - length) // max(n - 1, 1) for i in range(n)]
    return [Window(start, start + length) for start in starts]


def ffmpeg(*arguments: str) -> bytes:
    """What ffmpeg writes to its standard output."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
