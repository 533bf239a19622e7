"""Videos, what could not be used of them, and how they lie decoded on scratch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tasks.core.errors import HooklineError
from tasks.core.names import legible
from tasks.core.secrets import redacted
from tasks.core.speech.heard import Heard


class Stage(StrEnum):
    """Where in the pipeline a failure happened."""

    FETCH = "fetch"
    PROBE = "probe"
    DECODE = "decode"
    SPEECH = "speech"
    FAST = "fast"
    DEEP = "deep"
    PUBLISH = "publish"


class FailureKind(StrEnum):
    """Whether trying again makes sense."""

    REJECTED = "rejected"
    """The input is at fault and will be again."""
    FAILED = "failed"
    """Worth another try."""


ReadFrames = Callable[[Sequence[int]], npt.NDArray[np.uint8]]
"""Gives the frames at these ticks of a timeline, in this order: uint8 `n x height x width x 3`, RGB."""


@dataclass(frozen=True, slots=True)
class VideoRef:
    """One version of one video in the store, and when it was written there, if that is known."""

    uri: str
    etag: str
    size_bytes: int
    modified_at: datetime | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """64 hex digits that name this version in every run; file names begin with some of them."""
        return hashlib.sha256(f"{self.uri}\0{self.etag}".encode(errors="surrogatepass")).hexdigest()

    @property
    def name(self) -> str:
        """The last part of the URI, for messages."""
        return self.label.rstrip("/").rsplit("/", 1)[-1]

    @property
    def label(self) -> str:
        """The URI as it can be written anywhere."""
        return legible(self.uri)


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of `failures`: a video, or a segment of one, that could not be used.

    `reason` is a short stable code, `detail` a sentence for people; `start_s` and `end_s` are of a segment.
    """

    video: VideoRef
    stage: Stage
    kind: FailureKind
    reason: str
    detail: str
    attempts: int = 1
    start_s: float | None = None
    end_s: float | None = None

    @classmethod
    def from_error(cls, video: VideoRef, stage: Stage, error: Exception, *, attempts: int = 1) -> Failure:
        """A failure worth another try. Errors of Hookline bring their reason; all others are `unexpected`."""
        reason, detail = "unexpected", f"{type(error).__name__}: {error}"
        if isinstance(error, HooklineError):
            reason, detail = getattr(error, "reason", reason), str(error)
        return cls(video, stage, FailureKind.FAILED, reason, redacted(detail), attempts)


@dataclass(frozen=True, slots=True)
class Timeline:
    """One video decoded onto the sampling grid: tick `k` is the last picture shown before `(k + 1) / fps` s.
    VideoLLaMA3 was trained so: its frames are those of ffmpeg's filter `fps=1:round=down`.

    The frames lie at `path` on scratch as raw uint8, `n_ticks x height x width x 3`, RGB, upright
    and with square pixels. `duration_s` is the end of the last picture on the video's own clock.
    `damage` says in a sentence what is missing from a truncated file; it is None for a complete one.
    `unused` says what of the file is not read: a recording that is joined to this one; None if all is read.
    `sound_damage` says what of its sound cannot be decoded. `heard` is None where its sound is not wanted, or
    nobody knows any more. `loudness` (float32) is the momentary loudness of EBU R128 in LUFS after each tenth
    of a second, -70 for silence; None where nothing is heard.
    `worker` names the worker on whose disk the frames are; empty for the machine of the flow.
    `source_width` and `source_height` are those of the video as a player shows it, `source_fps` is the number
    of its pictures a second on average, `codec` ffmpeg's name; None, as the seconds, in what earlier versions
    stored. `source_timecode` is that of its first picture, and `source_rate` the rate that the file names, if
    `source_fps` is about the same: a lost picture makes that another one. Whether it `has_sound` is known
    while it is open.
    """

    video: VideoRef
    path: str
    n_ticks: int
    fps: int
    width: int
    height: int
    duration_s: float
    decoder: str
    damage: str | None = None
    fetch_seconds: float | None = None
    decode_seconds: float | None = None
    worker: str = ""
    codec: str | None = None
    source_width: int | None = None
    source_height: int | None = None
    source_fps: float | None = None
    unused: str | None = None
    sound_damage: str | None = None
    source_timecode: str | None = None
    source_rate: float | None = None
    has_sound: bool = True
    heard: Heard | None = field(default=None, compare=False, repr=False)
    loudness: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def silent(self) -> Timeline:
        """The same without its sound: all that workers need to see it, and little to send."""
        return replace(self, heard=None, loudness=None)

    def seconds(self, tick: int) -> float:
        """The time of a tick in seconds; the last one ends with the video, not with the grid."""
        return min(tick / self.fps, self.duration_s)
