"""The small records that travel between tasks: references, ids and numbers, never frames."""

from __future__ import annotations

from tasks.core.records.segments import (
    Analysis,
    Answer,
    Moment,
    RankedVideo,
    Score,
    Segment,
    Text,
    Why,
)
from tasks.core.records.videos import Failure, FailureKind, ReadFrames, Stage, Timeline, VideoRef
from tasks.core.records.windows import FastKind, ScoredVideo, ScoredWindow, Window, WindowFeatures

__all__ = [
    "Analysis",
    "Answer",
    "Failure",
    "FailureKind",
    "FastKind",
    "Moment",
    "RankedVideo",
    "ReadFrames",
    "Score",
    "ScoredVideo",
    "ScoredWindow",
    "Segment",
    "Stage",
    "Text",
    "Timeline",
    "VideoRef",
    "Why",
    "Window",
    "WindowFeatures",
]
