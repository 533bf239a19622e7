"""What the deep model answers about candidates, and the segments that are ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tasks.core.names import tidy
from tasks.core.records.videos import Failure, Timeline
from tasks.core.records.windows import ScoredVideo, ScoredWindow, Window
from tasks.core.speech.cuts import Cut
from tasks.core.throughput import Work

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

    `thumbnail_uri`, `clip_uri` and `timeline_uri` say where its files lie, `clip_span_s` what the clip shows,
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
    timeline_uri: str | None = None


@dataclass(frozen=True, slots=True)
class RankedVideo:
    """The results for one video: its scored windows, the ranked segments, and what went wrong.

    `analyses` has one entry for each candidate, `audits` one for each audited window; `cached` of both were
    known, the others took `deep_seconds`, `deep_works`. `missed` are candidates that came later, best first.
    `scored_by` names its head, as `models` of a run do, where the run has another, for which it waits.
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
    scored_by: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def timeline(self) -> Timeline:
        return self.scored.timeline

    @property
    def unanswered(self) -> int:
        """Candidates that the deep model gave no answer for."""
        return sum(analysis.status == "failed" for analysis in self.analyses)
