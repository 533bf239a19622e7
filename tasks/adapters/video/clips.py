"""Cuts a segment out of a video file as an mp4 that phones play, with a poster.

As with decoding, a child process with a deadline and a memory limit does it: the file may be hostile.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tasks.adapters.video.timeline import run_child
from tasks.core.errors import DecodeFailed
from tasks.core.settings import Limits
from tasks.core.views.pictures import Crop, Cut

GB = 10**9
CLIP_BYTES = 2 * GB
"""No clip grows larger: ten minutes at the highest rate we code in are 0.9 GB."""


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """What cutting one clip may cost: wall time, and the address space of each process."""

    deadline_s: float
    memory_bytes: int

    @classmethod
    def of(cls, limits: Limits) -> Self:
        return cls(limits.deadline_seconds, int(limits.memory_gb * GB))


@dataclass(frozen=True, slots=True)
class Clip:
    """The files of a clip: an mp4 and a JPEG."""

    video: Path
    poster: Path


def cut_clip(
    source: Path, folder: Path, cut: Cut, *, name: str, crop: Crop | None = None, limits: ClipLimits
) -> Clip:
    """Cuts `cut` out of `source`, which messages call `name`, into `folder`.

    The clip begins with the picture on screen at `cut.start_s` and ends within a picture of `cut.end_s`:
    H.264 (yuv420p) at a constant rate with square pixels, upright, its short side 1080 at the most; AAC
    of the first sound track, if there is one; the index in front.

    Raises `DecodeFailed` (reason `clip_failed`, `deadline`, `out_of_memory` or `crashed`).
    """
    clip = Clip(folder.resolve() / "clip.mp4", folder.resolve() / "clip.jpg")
    job = {
        "parent": os.getpid(),
        "source": str(source.resolve()),
        "name": name,
        "cut": asdict(cut),
        "crop": crop,
        "video": str(clip.video),
        "poster": str(clip.poster),
        "memory_bytes": limits.memory_bytes,
        "file_bytes": CLIP_BYTES,
    }
    result = run_child(
        job,
        program="tasks.adapters.video.clip_child",
        doing="Cutting a clip of",
        folder=folder,
        deadline_s=limits.deadline_s,
    )
    if failed := result.get("failed"):
        raise DecodeFailed(failed["message"], reason=failed["reason"])
    return clip
