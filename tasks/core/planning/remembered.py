"""What the library remembers of the videos that a run will open, and of how long videos of their size are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.planning.estimate import Work, segments_in
from tasks.core.records import VideoRef
from tasks.core.settings import Settings

COLUMNS = ("video_uri", "video_etag", "size_bytes", "duration_s", "width", "height", "fps")


@dataclass(slots=True)
class Remembered:
    """Sums over the ranked videos of a library, and what it has of those that are asked about.

    `versions` are their ETags and sizes, `seconds` their lengths. `frame_bytes` is the most that a second of
    a video takes on scratch.
    """

    versions: dict[str, tuple[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    frame_bytes: int = 0
    videos: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("s", "b", "ss", "sb", "bb"), 0.0))

    def seconds_of(self, video: VideoRef) -> float | None:
        """How long a video was, or how long those of its size are; None if there is none to tell."""
        if (known := self.seconds.get(video.label)) is not None:
            return known
        return video.size_bytes * self.sums["s"] / self.sums["b"] if self.sums["b"] else None

    @property
    def unsure_s(self) -> float:
        """By how many seconds the length of a video differs from what its size tells (root mean square)."""
        if not self.sums["b"]:
            return 0.0
        rate = self.sums["s"] / self.sums["b"]
        squares = self.sums["ss"] - 2 * rate * self.sums["sb"] + rate**2 * self.sums["bb"]
        return math.sqrt(max(squares, 0) / self.videos)


Library = Callable[[Sequence[str]], Iterable[pa.Table]]
"""Gives some columns of a library, some rows at a time."""


def remember(library: Library, asked: Sequence[VideoRef]) -> Remembered:
    """Look through a library, some rows at a time."""
    found = Remembered()
    labels = pa.array([video.label for video in asked], pa.string())
    for table in library(COLUMNS):
        of_asked = table.filter(pc.is_in(table["video_uri"], labels))
        for row in of_asked.to_pylist():
            found.versions[row["video_uri"]] = (row["video_etag"], row["size_bytes"])
            if row["duration_s"] is not None:
                found.seconds[row["video_uri"]] = row["duration_s"]
        table = table.filter(pc.is_valid(table["duration_s"]))
        seconds, size = (np.asarray(table[name], np.float64) for name in ("duration_s", "size_bytes"))
        found.videos += len(table)
        for name, values in (
            *(("s", seconds), ("b", size)),
            *(("ss", seconds**2), ("sb", seconds * size), ("bb", size**2)),
        ):
            found.sums[name] += float(values.sum())
        frame = pc.multiply(pc.multiply(table["width"], table["height"]), table["fps"])
        found.frame_bytes = max(found.frame_bytes, 3 * (pc.max(frame).as_py() or 0))
    return found


def work_of(asked: Sequence[VideoRef], known: Remembered, settings: Settings) -> Work | None:
    """How much work these videos are; None if nobody knows how long they are."""
    seconds = [known.seconds_of(video) for video in asked]
    lengths = [each for each in seconds if each is not None]
    if len(lengths) < len(seconds):
        return None
    by_size = sum(video.label not in known.seconds for video in asked)
    return Work(
        len(asked),
        math.fsum(lengths) / 3600,
        math.fsum(segments_in(each, settings) for each in lengths),
        # Twice the standard error of a sum.
        2 * known.unsure_s * math.sqrt(by_size) / 3600,
    )
