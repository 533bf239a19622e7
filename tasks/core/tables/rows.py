"""The rows that are published: from records to the tables of `tasks.core.tables.schemas`.

A record's field with the name of a column becomes that column: Arrow takes what the schema names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.core.names import legible
from tasks.core.records import (
    Failure,
    FailureKind,
    RankedVideo,
    ScoredVideo,
    ScoredWindow,
    Segment,
    Stage,
    Timeline,
    VideoRef,
    Why,
    Window,
)
from tasks.core.scoring.answers import written
from tasks.core.scoring.sound import SoundMeter, WindowSound
from tasks.core.scoring.window_cuts import seconds_of
from tasks.core.tables.run_ranking import BEST_FIRST, with_column
from tasks.core.tables.schemas import FAILURES, RANKINGS, upgraded, windows_schema
from tasks.core.tables.sorted_rows import in_order

ANSWERED_BY = ("videollama3_device", "videollama3_dtype", "adapter", "adapter_revision")
"""Columns of their own: readers of several versions at once know no new fields in the struct `models`."""


@dataclass(frozen=True, slots=True)
class RunStamp:
    """What every row of a run carries: which run it was, and which models and settings made it.

    `listens`: the sound of videos is wanted.
    """

    run_id: str
    viral_threshold: int
    models: Mapping[str, str | None]
    listens: bool = True


def made_rankings(videos: Iterable[RankedVideo], stamp: RunStamp) -> pa.Table:
    """One row a segment that this run has ranked, best first; what all rows of the run say is null, or 0."""
    rows = [
        _ranking_row(video.timeline, segment, replace(stamp, models={**stamp.models, **video.scored_by}))
        for video in videos
        for segment in video.segments
    ]
    return in_order(pa.Table.from_pylist(rows, schema=RANKINGS), BEST_FIRST)


def windows_table(videos: Iterable[RankedVideo], stamp: RunStamp, *, dimensions: int) -> pa.Table:
    """One row a window, by video and start: also those that were not chosen, and why.

    Of the videos that this run scored: embeddings are not written again every night. `library` names
    the run that has the windows of the others.
    """
    schema = windows_schema(dimensions)
    tables = [
        _video_windows(video, stamp, schema)
        for video in sorted(videos, key=lambda video: video.timeline.video.uri)
    ]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def rescored_windows(video: RankedVideo, stored: pa.Table, stamp: RunStamp) -> pa.Table:
    """The rows of `windows_table` of a video that was not opened: what is heard in them is `stored`."""
    table = _video_windows(video, stamp, windows_schema(video.scored.embeddings.shape[1]))
    heard = pa.schema([table.schema.field(each.name) for each in fields(WindowSound)])
    for name, column in zip(heard.names, upgraded(stored, heard).columns, strict=True):
        table = with_column(table, name, column)
    return table


def failures_table(failures: Iterable[Failure], stamp: RunStamp) -> pa.Table:
    """One row a video or segment that could not be used, by video and start."""
    rows = [
        {
            **asdict(failure),
            "run_id": stamp.run_id,
            "video_uri": failure.video.label,
            "video_etag": failure.video.etag,
            "detail": legible(failure.detail),
            "start": failure.start_s,
            "end": failure.end_s,
        }
        for failure in failures
    ]
    rows.sort(key=lambda row: (row["video_uri"], row["stage"], row["start"] or 0.0, row["end"] or 0.0))
    return pa.Table.from_pylist(rows, schema=FAILURES)


def read_failures(table: pa.Table) -> list[Failure]:
    """The rows of a `failures_table`; the size of a video is not in them.

    Raises:
        ValueError, KeyError, TypeError: it is not one.
    """
    return [
        Failure(
            VideoRef(row["video_uri"], row["video_etag"], 0),
            Stage(row["stage"]),
            FailureKind(row["kind"]),
            row["reason"],
            row["detail"],
            row["attempts"],
            row["start"],
            row["end"],
        )
        for row in table.select(FAILURES.names).cast(FAILURES).to_pylist()
    ]


def _ranking_row(timeline: Timeline, segment: Segment, stamp: RunStamp) -> dict[str, Any]:
    start_s, end_s = timeline.seconds(segment.window.start), timeline.seconds(segment.window.end)
    analysis = segment.analysis
    return {
        "run_id": stamp.run_id,
        "video_uri": timeline.video.label,
        "video_etag": timeline.video.etag,
        "video_duration": timeline.duration_s,
        "rank": segment.rank,
        "run_rank": 0,  # as the percentile and the previous ranks: known when all rows are
        "start": start_s,
        "end": end_s,
        "duration": end_s - start_s,
        "score": segment.score,
        "is_viral": segment.score >= stamp.viral_threshold,
        "analysis_method": "VideoMAE + VideoLLaMA3" if analysis.answer else "VideoMAE only",
        "videomae_score": segment.fast_score,
        "videollama3": asdict(analysis) | written(analysis.answer) if analysis.answer else None,
        "deep_status": analysis.status,
        "deep_reason": analysis.reason,
        "transcript": segment.transcript,
        "language": segment.language,
        "thumbnail_uri": segment.thumbnail_uri,
        "clip_uri": segment.clip_uri,
        "clip_captions": segment.clip_captions,
        "timeline_uri": segment.timeline_uri,
        **({"clip_start": clip[0], "clip_end": clip[1]} if (clip := segment.clip_span_s) else {}),
        "moment": segment.moment,
        "best_of_moment": segment.best_of_moment,
        "models": dict(stamp.models),
        "head_revision": stamp.models.get("head_revision"),
        **_cut(segment, timeline, stamp),
        **({name: stamp.models.get(name) for name in ANSWERED_BY} if analysis.answer else {}),
        **(_why(segment.why, timeline) if segment.why else {}),
    }


def _cut(segment: Segment, timeline: Timeline, stamp: RunStamp) -> dict[str, Any]:
    """What is watched of a segment and heard in it; null as far as nobody knows."""
    if not stamp.listens:
        return {"speech_status": "off"}
    if timeline.heard is None:
        return {}
    outcome = {"speech_status": timeline.heard.status, "speech_reason": timeline.heard.reason}
    if segment.cut is None:
        return outcome
    start_s, end_s = seconds_of(segment, timeline)
    has_sound = timeline.heard.status != "no_sound"
    return {
        **outcome,
        "cut_start": start_s,
        "cut_end": end_s,
        "cut_clean": segment.cut.is_clean,
        "speech_ratio": segment.cut.speech_ratio if has_sound else None,
    }


def _why(why: Why, timeline: Timeline) -> dict[str, Any]:
    seconds = timeline.seconds
    suppressed = [
        {"start": seconds(item.window.start), "end": seconds(item.window.end), "videomae_score": item.score}
        for item in why.suppressed
    ]
    return {**asdict(why), "suppressed": suppressed}


def _video_windows(video: RankedVideo, stamp: RunStamp, schema: pa.Schema) -> pa.Table:
    scored: ScoredVideo = video.scored
    seconds, ref = video.timeline.seconds, video.timeline.video
    ranked = {segment.window for segment in video.segments}
    combined = {segment.window: segment.score for segment in (*video.segments, *video.missed)}
    count = len(scored.windows)
    columns = {
        "run_id": [stamp.run_id] * count,
        "video_uri": [ref.label] * count,
        "video_etag": [ref.etag] * count,
        "start": [seconds(item.window.start) for item in scored.windows],
        "end": [seconds(item.window.end) for item in scored.windows],
        "videomae_score": [item.score for item in scored.windows],
        "fast_kind": [scored.fast_kind] * count,
        "embedding": _fixed_size_list(scored.embeddings.astype(np.float32)),
        "is_candidate": [item.is_candidate for item in scored.windows],
        "suppressed_by": [
            seconds(item.suppressed_by.start) if item.suppressed_by else None for item in scored.windows
        ],
        "reason": [_why_not_ranked(item, ranked) for item in scored.windows],
        "suppressed_by_end": [
            seconds(item.suppressed_by.end) if item.suppressed_by else None for item in scored.windows
        ],
        "score": [combined.get(item.window) for item in scored.windows],
        "cut_start": [cut.start_ms / 1000 if (cut := item.cut) else None for item in scored.windows],
        "cut_end": [cut.end_ms / 1000 if (cut := item.cut) else None for item in scored.windows],
        **_heard(scored),
        "change": [None] * count if scored.change is None else scored.change,
        "analysed_before": [item.analysed_before for item in scored.windows],
        **_judged(video),
    }
    return pa.Table.from_pydict(columns, schema=schema)


def _judged(video: RankedVideo) -> dict[str, list[Any]]:
    """What the deep model said of each window, and how it came to be asked; null of the others."""
    windows = video.scored.windows
    ranked_or_not = (*video.segments, *video.missed)
    analyses = {segment.window: segment.analysis for segment in ranked_or_not} | dict(video.audits)
    judged = [analyses.get(item.window) for item in windows]
    return {
        "deep_status": [each and each.status for each in judged],
        "deep_score": [each and each.answer and each.answer.virality_score for each in judged],
        "deep_expected_score": [each and each.expected_score for each in judged],
        "pack_rank": [item.pack_rank for item in windows],
        "audited": [item.window in video.audits for item in windows],
        "audit_probability": [1.0 if item.is_candidate else item.audit_probability for item in windows],
    }


def _heard(scored: ScoredVideo) -> dict[str, list[Any]]:
    """What is heard in each window; null where the video has no sound, or it was not wanted."""
    timeline = scored.timeline
    heard, loudness = timeline.heard, timeline.loudness
    meter = None if heard is None or loudness is None else SoundMeter(heard.speech, loudness)
    sounds = [
        meter.between(timeline.seconds(item.window.start), timeline.seconds(item.window.end))
        for item in scored.windows
        if meter
    ]
    empty = [None] * len(scored.windows)
    return {
        each.name: [getattr(sound, each.name) for sound in sounds] or empty for each in fields(WindowSound)
    }


def _why_not_ranked(scored: ScoredWindow, ranked: set[Window]) -> str | None:
    if scored.window in ranked:
        return None
    if scored.suppressed_by:
        return "overlap"
    return "below_top_n" if scored.is_candidate else "below_cut"


def _fixed_size_list(rows: npt.NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
