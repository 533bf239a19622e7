"""Rank the candidates of a video by their scores and analyses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from tasks.core.records import (
    Analysis,
    Failure,
    FailureKind,
    RankedVideo,
    ScoredVideo,
    Stage,
    Timeline,
    Window,
)
from tasks.core.scoring.fast_scores import fast_reason
from tasks.core.scoring.moments import with_moments
from tasks.core.scoring.ranking import explained, rank_segments
from tasks.core.scoring.said import with_transcripts
from tasks.core.settings import Ranking
from tasks.work.analyses import Analyses


def rank_video(scored: ScoredVideo, analyses: Analyses, settings: Ranking) -> RankedVideo:
    """The ranked segments of one video, with what went wrong on the way."""
    why = fast_reason(scored)
    candidates = dict.fromkeys(item.window for item in scored.candidates)
    weights = {"deep_weight": settings.deep_weight, "fast_weight": settings.fast_weight}
    if why:  # a number that says nothing gives no segment its place in the run
        weights = {"deep_weight": Decimal(1), "fast_weight": Decimal(0)}
    every = rank_segments(scored.candidates, analyses.by_window, top_n=settings.candidates, **weights)
    ranked, missed = every[: settings.top_n], every[settings.top_n :]
    ranked = with_transcripts(ranked, scored.timeline)
    ranked = explained(ranked, missed, scored.windows, fast_reason=why, **weights)
    return RankedVideo(
        scored,
        tuple(with_moments(ranked, same_moment=settings.same_moment)),
        tuple(analyses.by_window[window] for window in candidates),
        (*damage(scored.timeline), *scored.failures, *failed_analyses(scored.timeline, analyses.by_window)),
        analyses.cached,
        analyses.seconds,
        tuple(missed),
        analyses.works,
        audits={window: each for window, each in analyses.by_window.items() if window not in candidates},
    )


def damage(timeline: Timeline) -> Iterator[Failure]:
    """The failures of a truncated file, of one of joined recordings, and of broken sound: all are ranked."""
    if timeline.damage:
        detail = f"{timeline.damage} What could be decoded is ranked."
        yield Failure(timeline.video, Stage.DECODE, FailureKind.REJECTED, "truncated", detail)
    if timeline.unused:
        yield Failure(timeline.video, Stage.DECODE, FailureKind.REJECTED, "joined", timeline.unused)
    if timeline.sound_damage:
        reason, detail = "sound_unreadable", timeline.sound_damage
        yield Failure(timeline.video, Stage.SPEECH, FailureKind.REJECTED, reason, detail)


def failed_analyses(timeline: Timeline, by_window: Mapping[Window, Analysis]) -> Iterator[Failure]:
    """One failure for each segment without an answer, or a single one if all failed in the same way."""
    failed = {window: analysis for window, analysis in by_window.items() if analysis.status == "failed"}
    if len(failed) == len(by_window) and len(set(failed.values())) == 1:
        yield _failure(timeline, next(iter(failed.values())))
        return
    for window, analysis in sorted(failed.items()):
        yield _failure(timeline, analysis, window)


def _failure(timeline: Timeline, analysis: Analysis, window: Window | None = None) -> Failure:
    return Failure(
        timeline.video,
        Stage.DEEP,
        FailureKind.FAILED,
        analysis.reason or "model_error",
        analysis.detail or "VideoLLaMA3 gave no answer.",
        start_s=timeline.seconds(window.start) if window else None,
        end_s=timeline.seconds(window.end) if window else None,
    )
