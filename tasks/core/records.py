"""The small records that travel between tasks: references, ids and numbers, never frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from tasks.core.devices import Device
from tasks.core.errors import HooklineError
from tasks.core.names import legible, tidy
from tasks.core.secrets import redacted
from tasks.core.speech.cuts import Cut
from tasks.core.speech.heard import Heard
from tasks.core.throughput import Span, Work

FastKind = Literal["head", "head_percentile", "salience"]
"""A fitted head, by itself or as a percentile of its video; or how much a window differs from its video."""


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
    stored.
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
    heard: Heard | None = field(default=None, compare=False, repr=False)
    loudness: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def silent(self) -> Timeline:
        """The same without its sound: all that workers need to see it, and little to send."""
        return replace(self, heard=None, loudness=None)

    def seconds(self, tick: int) -> float:
        """The time of a tick in seconds; the last one ends with the video, not with the grid."""
        return min(tick / self.fps, self.duration_s)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Ticks `[start, end)` of one timeline."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class WindowFeatures:
    """What the fast model says of a batch of `n` windows.

    `embeddings` is `n x d` float32: the mean of the last layer's tokens.
    `change` is `n` float32: the mean cosine distance between consecutive moments inside the window.
    `seconds` is how long frames and model took, on `device`; `loop` when; `work` what the whole call did.
    """

    embeddings: npt.NDArray[np.float32]
    change: npt.NDArray[np.float32]
    seconds: float = 0.0
    device: Device | None = None
    loop: Span | None = None
    work: Work | None = None


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A window, its fast score (0-100), whether it is a candidate or suppressed by another, and its cut.

    `pack_rank` is its place among the windows that do not repeat each other, None if it is none of them or
    nobody asked. `audit_probability`: of a window that was drawn for the audit, how likely that was.
    """

    window: Window
    score: int
    is_candidate: bool = False
    suppressed_by: Window | None = None
    cut: Cut | None = None
    pack_rank: int | None = None
    audit_probability: float | None = None


@dataclass(frozen=True, slots=True)
class ScoredVideo:
    """All windows of one video with their fast scores, and the candidates among them.

    `embeddings` is float16, one row a window, in the windows' order, and so is `change`, float32; None where
    nobody knows it. `seconds` is what scoring took, on `devices`, by the `works` of its batches. `failures`
    say why nobody knows what is said, where nobody does; to write it down took `speech_seconds`.
    """

    timeline: Timeline
    windows: tuple[ScoredWindow, ...]
    embeddings: npt.NDArray[np.float16]
    fast_kind: FastKind
    seconds: float = 0.0
    devices: frozenset[Device] = frozenset()
    works: tuple[Work, ...] = ()
    failures: tuple[Failure, ...] = ()
    speech_seconds: float = 0.0
    change: npt.NDArray[np.float32] | None = None

    @property
    def candidates(self) -> list[ScoredWindow]:
        return [scored for scored in self.windows if scored.is_candidate]


Score = Annotated[int, Field(ge=0, le=100)]
Text = Annotated[str, AfterValidator(tidy)]


@dataclass(frozen=True, slots=True)
class Moment:
    """A strong moment: seconds on the video's own clock, and why."""

    timestamp_s: Annotated[float, Field(ge=0, allow_inf_nan=False, alias="timestamp")]
    why: Text


@dataclass(frozen=True, slots=True)
class Answer:
    """What VideoLLaMA3 answered about one segment. Where it is read from JSON, its types are enforced."""

    virality_score: Score
    hook_quality: Score
    engagement_potential: Score
    viral_elements: tuple[Text, ...]
    viral_moments: tuple[Moment, ...]
    reasoning: Text
    recommendation: Text


@dataclass(frozen=True, slots=True)
class Analysis:
    """The deep stage's result for one candidate: an answer, or the reason why there is none.

    `expected_score`, `expected_hook_quality` and `expected_engagement_potential` are the answer's three
    scores as probability-weighted means (0-100). `frames` is how many frames the model was shown,
    `batch_size` how many segments it answered at once. An answer has a `reason` where memory did not
    allow what the settings ask for.
    """

    status: Literal["ok", "failed", "skipped"]
    reason: str | None = None
    detail: str | None = None
    answer: Answer | None = None
    expected_score: float | None = None
    expected_hook_quality: float | None = None
    expected_engagement_potential: float | None = None
    frames: int | None = None
    batch_size: int | None = None

    @classmethod
    def ok(cls, answer: Answer, **measured: Any) -> Analysis:
        return cls("ok", answer=answer, **measured)

    @classmethod
    def failed(cls, reason: str, detail: str) -> Analysis:
        return cls("failed", reason, detail)

    @classmethod
    def skipped(cls, reason: str) -> Analysis:
        return cls("skipped", reason)


@dataclass(frozen=True, slots=True)
class Why:
    """Why a segment has its rank, as far as its own video tells.

    The weights are those of its score: without a deep score `deep_weight` is None and `fast_weight` 1.
    `video_percentile` is the percentile of its fast score among all windows of the video. `margin` is its
    score less that of the best candidate that is not ranked; None if all are. `suppressed` are the weaker
    windows that it kept from being candidates. `fast_reason`: why its fast score has no weight, if so.
    """

    deep_weight: float | None
    fast_weight: float
    video_percentile: float
    margin: int | None
    suppressed: tuple[ScoredWindow, ...] = ()
    fast_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A ranked segment: `rank` counts from 1 within its video, `score` is the combined 0-100.

    `thumbnail_uri` and `clip_uri` say where its picture and clip lie, `clip_span_s` what that shows,
    `clip_captions` how it has captions, or `no_words`. Segments with one `moment`, counted from 1, show the
    same. `transcript`: what is said, empty if nobody speaks, None if nobody knows; `language` is the video's.
    """

    window: Window
    score: int
    fast_score: int
    analysis: Analysis
    rank: int
    why: Why | None = None
    thumbnail_uri: str | None = None
    clip_uri: str | None = None
    moment: int | None = None
    best_of_moment: bool | None = None
    cut: Cut | None = None
    transcript: str | None = None
    language: str | None = None
    clip_span_s: tuple[float, float] | None = None
    clip_captions: str | None = None


@dataclass(frozen=True, slots=True)
class RankedVideo:
    """The results for one video: its scored windows, the ranked segments, and what went wrong.

    `analyses` has one entry for each candidate, `audits` one for each audited window; `cached` of both were
    known, the others took `deep_seconds`, `deep_works`. `missed` are candidates that came later, best first.
    """

    scored: ScoredVideo
    segments: tuple[Segment, ...]
    analyses: tuple[Analysis, ...] = ()
    failures: tuple[Failure, ...] = ()
    cached: int = 0
    deep_seconds: float = 0.0
    missed: tuple[Segment, ...] = ()
    deep_works: tuple[Work, ...] = ()
    audits: Mapping[Window, Analysis] = field(default_factory=dict)

    @property
    def timeline(self) -> Timeline:
        return self.scored.timeline

    @property
    def unanswered(self) -> int:
        """Candidates that the deep model gave no answer for."""
        return sum(analysis.status == "failed" for analysis in self.analyses)
