"""Where the crop of a clip lies, shot by shot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.adapters.video.clips.cutting import ClipJob
from tasks.adapters.video.clips.places import places
from tasks.adapters.video.clips.samples import look_through
from tasks.adapters.video.clips.source import SourceInfo
from tasks.core.views.pictures import Cut, Framing


def framing_of(job: ClipJob, cut: Cut, info: SourceInfo, *, count: int) -> list[Framing]:
    """Where the crop of a cut of `count` pictures lies: as given, on what is to be seen, or in the middle.

    Raises `DecodeFailed` if the cut cannot be decoded, or what finds faces is not installed.
    """
    given = sorted((Framing(**each) for each in job.framing), key=lambda each: each.start_s)
    if given:
        return given
    width, height = info.size
    share = job.crop[0] / job.crop[1] * height / width if job.crop else 1
    if not job.follow or share >= 1:
        return [Framing(cut.start_s, 0.5, "centre")]
    samples, changes = look_through(Path(job.source), cut, info, count=count, folder=Path(job.video).parent)
    found = places(samples, changes, count=count, share=share)
    return [
        Framing(round(cut.start_s + float(place.first / info.rate), 3), place.x, place.found)
        for place in found
    ]


def position(framing: Sequence[Framing], cut: Cut, info: SourceInfo) -> str:
    """The middle of the crop as an expression of ffmpeg over `n`, the number of a picture of the clip.

    It is a tree of choices: of a sum, ffmpeg takes no more than a hundred terms.
    """
    if len(framing) == 1:
        return str(framing[0].crop_x)
    half = len(framing) // 2
    first = round((framing[half].start_s - cut.start_s) * info.rate)
    sides = (position(side, cut, info) for side in (framing[:half], framing[half:]))
    return f"if(lt(n,{first}),{','.join(sides)})"
