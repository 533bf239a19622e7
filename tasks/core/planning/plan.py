"""What a run would do to each listed video, as a dry run tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from tasks.core.listing import Inventory, LeftOut
from tasks.core.manifest import Estimate
from tasks.core.planning.remembered import Remembered
from tasks.core.records import Failure, VideoRef

Why = Literal["new", "changed", "anew"]
"""Why a video is opened: no run has ranked it; it is another file now; other settings or models score it."""

MAX_NAMED = 10_000
"""Videos of a plan that are named; the others are counted."""


class PlannedVideo(BaseModel, frozen=True):
    """A video that would be opened."""

    uri: str
    size_bytes: int
    why: Why


class UnusableVideo(BaseModel, frozen=True):
    """A video that a list names and that cannot be used."""

    video_uri: str
    reason: str
    detail: str


class Plan(BaseModel, frozen=True):
    """What there is to do. `counts` has the videos by what becomes of them, `bytes` those of files to open.

    `videos` are the first of those that would be opened. `notes` say what is not known for sure.
    """

    counts: dict[str, int]
    bytes: int
    videos: list[PlannedVideo]
    refused: list[UnusableVideo]
    left_out: LeftOut
    inventory: Inventory | None = None
    estimate: Estimate
    gpu_hour: float = 0.0
    notes: list[str] = []


def why_opened(video: VideoRef, known: Remembered) -> Why:
    """Why a video would be opened."""
    version = known.versions.get(video.label)
    if version is None:
        return "new"
    return "anew" if version == (video.etag, video.size_bytes) else "changed"


def counted(
    to_open: Sequence[VideoRef],
    known: Remembered,
    *,
    unchanged: int,
    rejected: int,
    refused: Sequence[Failure],
) -> dict[str, int]:
    """The videos by what becomes of them."""
    whys = Counter(why_opened(video, known) for video in to_open)
    return {
        **{why: whys[why] for why in ("new", "changed", "anew")},
        "unchanged": unchanged,
        "rejected": rejected,
        "unusable": len(refused),
    }
