"""Cuts a segment out of a video file as an mp4 that phones play, with a poster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.adapters.video.sandbox import Job, run_sandboxed
from tasks.core.speech.heard import Word
from tasks.core.views.pictures import Crop, Cut, Framing

CHILD = "tasks.adapters.video.clips.child"
MAX_CLIP_BYTES = 2 * 10**9
"""Ten minutes at the highest rate we code in are 0.9 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipJob(Job):
    """A clip to cut; `cut` holds the fields of a `Cut`, `video` and `poster` are the files to write.

    `framing` holds the fields of each `Framing`, `words` those of each `Word` that is burned in, on the clock
    of the source.
    """

    cut: dict[str, float]
    crop: Crop | None
    framing: Sequence[dict[str, Any]]
    follow: bool
    words: Sequence[dict[str, Any]]
    loudness: bool
    enlarged: bool
    video: str
    poster: str


@dataclass(frozen=True, slots=True)
class Clip:
    """The files of a clip, an mp4 and a JPEG, the cut that was made, and where its crop lies."""

    video: Path
    poster: Path
    start_s: float
    end_s: float
    framing: tuple[Framing, ...]


def cut_clip(
    source: Path,
    folder: Path,
    cut: Cut,
    *,
    name: str,
    crop: Crop | None = None,
    framing: Sequence[Framing] = (),
    follow: bool = False,
    words: Sequence[Word] = (),
    loudness: bool = False,
    enlarged: bool = False,
    deadline_s: float,
    memory_bytes: int,
) -> Clip:
    """Cuts `cut` out of `source`, which messages call `name`, into `folder`.

    The clip begins with the picture on screen at `cut.start_s` and ends within a picture of `cut.end_s`,
    unless another shot flashes up there: as far as the cut allows, its ends then move.
    H.264 (yuv420p) at a constant rate with square pixels, upright, its short side at most 1080, or exactly
    that if `enlarged`, and its long one at most 4096; AAC of the first audio stream, if there is one (of
    several programs: that of the video's); the index in front.
    A crop lies where `framing` says, as far as there is picture; without any in the middle, or, to `follow`,
    in each shot on faces, or else on what moves and stands out.
    `words`, on the clock of the source, are burned in. With `loudness` the sound is as loud as platforms play
    it: -14 LUFS, true peaks below -1 dB. `deadline_s` is wall time, `memory_bytes` the address
    space of each process.

    Raises `DecodeFailed` (reason `clip_failed`, `deadline`, `out_of_memory` or `crashed`).
    """
    video, poster = folder.resolve() / "clip.mp4", folder.resolve() / "clip.jpg"
    job = ClipJob(
        source=str(source.resolve()),
        name=name,
        memory_bytes=memory_bytes,
        file_bytes=MAX_CLIP_BYTES,
        cut=asdict(cut),
        crop=crop,
        framing=[asdict(each) for each in framing],
        follow=follow,
        words=[asdict(word) for word in words],
        loudness=loudness,
        enlarged=enlarged,
        video=str(video),
        poster=str(poster),
    )
    made = run_sandboxed(CHILD, job, doing="Cutting a clip of", folder=folder, deadline_s=deadline_s)
    placed = tuple(Framing(**each) for each in made.pop("framing"))
    return Clip(video, poster, **made, framing=placed)
