"""The Arrow schemas of what is published, each defined once, and the rows that go into them.

`run_date` is a column of every table by way of its folder, `run_date=YYYY-MM-DD/`: DuckDB, Polars,
pandas and Spark read it from there, and pandas refuses a file that repeats it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records import (
    Analysis,
    Answer,
    Failure,
    Kind,
    RankedVideo,
    ScoredVideo,
    ScoredWindow,
    Segment,
    Stage,
    Timeline,
    VideoRef,
    Window,
    legible,
)

SCHEMA_VERSION = "2"
"""Grows when a column is added; columns are never renamed or removed."""


def table_name(kind: str, *, run_date: object, run_id: str) -> str:
    """Where a table of a run lies under the output."""
    return f"{kind}/run_date={run_date}/{run_id}.parquet"


MODELS = pa.struct(
    [
        ("videomae", pa.string()),
        ("videomae_revision", pa.string()),
        ("head", pa.string()),
        ("videollama3", pa.string()),
        ("videollama3_revision", pa.string()),
        ("videollama3_quantization", pa.string()),
        ("prompt_hash", pa.string()),
        ("settings_hash", pa.string()),
        ("code_version", pa.string()),
    ]
)

VIDEOLLAMA3 = pa.struct(
    [
        ("virality_score", pa.int32()),
        ("hook_quality", pa.int32()),
        ("engagement_potential", pa.int32()),
        ("expected_score", pa.float32()),
        ("expected_hook_quality", pa.float32()),
        ("expected_engagement_potential", pa.float32()),
        ("viral_elements", pa.list_(pa.string())),
        ("viral_moments", pa.list_(pa.struct([("timestamp", pa.float64()), ("why", pa.string())]))),
        ("reasoning", pa.string()),
        ("recommendation", pa.string()),
        ("frames", pa.int32()),
        ("batch_size", pa.int32()),
    ]
)

RANKINGS = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_etag", pa.string(), nullable=False),
        pa.field("video_duration", pa.float64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("run_rank", pa.int32(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("duration", pa.float64(), nullable=False),
        pa.field("score", pa.int32(), nullable=False),
        pa.field("is_viral", pa.bool_(), nullable=False),
        pa.field("analysis_method", pa.string(), nullable=False),
        pa.field("videomae_score", pa.int32(), nullable=False),
        pa.field("videollama3", VIDEOLLAMA3),
        pa.field("deep_status", pa.string(), nullable=False),
        pa.field("deep_reason", pa.string()),
        pa.field("transcript", pa.string()),
        pa.field("thumbnail_uri", pa.string()),
        pa.field("clip_uri", pa.string()),
        pa.field("models", MODELS, nullable=False),
    ]
)

FAILURES = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_etag", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
    ]
)

LIBRARY = pa.schema(
    [
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_etag", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("last_listed", pa.date32(), nullable=False),
        pa.field("scored_in", pa.string()),
        pa.field("scored_on", pa.date32()),
        pa.field("n_ticks", pa.int32()),
        pa.field("fps", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("duration_s", pa.float64()),
        pa.field("decoder", pa.string()),
        pa.field("damage", pa.string()),
        pa.field("unanswered", pa.int32(), nullable=False),
        pa.field("scoring_digest", pa.string(), nullable=False),
        pa.field("rejecting_digest", pa.string(), nullable=False),
        pa.field("frame_budget", pa.string(), nullable=False),
    ]
)
"""What the next run knows of each video without a look at it. `status` is `ranked` or `rejected`; what
describes scores and timeline is null for the rejected. `last_listed` is the day of the last run that
listed it: a run over a part of the source keeps the others."""


def windows_schema(dimensions: int) -> pa.Schema:
    """Schema of `windows`; `dimensions` is the length of an embedding (768 for VideoMAE base)."""
    return pa.schema(
        [
            pa.field("run_id", pa.string(), nullable=False),
            pa.field("video_uri", pa.string(), nullable=False),
            pa.field("video_etag", pa.string(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("end", pa.float64(), nullable=False),
            pa.field("videomae_score", pa.int32(), nullable=False),
            pa.field("fast_kind", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float16(), dimensions), nullable=False),
            pa.field("is_candidate", pa.bool_(), nullable=False),
            pa.field("suppressed_by", pa.float64()),
            pa.field("reason", pa.string()),
        ]
    )


@dataclass(frozen=True, slots=True)
class RunStamp:
    """What every row of a run carries: which run it was, and which models and settings made it."""

    run_id: str
    viral_threshold: int
    models: Mapping[str, str | None]


def rankings_table(
    videos: Iterable[RankedVideo], stamp: RunStamp, *, carried: pa.Table | None = None
) -> pa.Table:
    """One row a ranked segment, best of the run first.

    `carried` are rows of an earlier run that hold as they are, less the run they belong to.
    """
    rows = [_ranking_row(video.timeline, segment, stamp) for video in videos for segment in video.segments]
    made = pa.Table.from_pylist(rows, schema=RANKINGS)
    return best_first(made if carried is None else pa.concat_tables([made, _of_run(carried, stamp)]))


def best_first(rankings: pa.Table) -> pa.Table:
    """Rows in the order of the whole run, with their `run_rank` from 1.

    By score, expected deep score, fast score, video and rank in the video: a total order that needs
    nothing but the rows, so that it does not matter which run they were made in.
    """
    keys = {
        "score": (rankings["score"], "descending"),
        "expected": (pc.struct_field(rankings["videollama3"], "expected_score"), "descending"),
        "fast": (rankings["videomae_score"], "descending"),
        "video": (rankings["video_uri"], "ascending"),
        "rank": (rankings["rank"], "ascending"),
    }
    order = pc.sort_indices(
        pa.table({name: column for name, (column, _) in keys.items()}),
        sort_keys=[(name, direction) for name, (_, direction) in keys.items()],
    )
    places = np.arange(len(rankings), dtype=np.int32)
    if not np.array_equal(order, places):  # a night with nothing new has them in order
        rankings = rankings.take(order)
    return _with(rankings, "run_rank", pa.array(places + 1))


def _of_run(table: pa.Table, stamp: RunStamp) -> pa.Table:
    return _with(table, "run_id", pa.repeat(stamp.run_id, len(table)))


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


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


def failures_table(failures: Iterable[Failure], stamp: RunStamp) -> pa.Table:
    """One row a video or segment that could not be used, by video and start."""
    rows = [
        {
            "run_id": stamp.run_id,
            "video_uri": failure.video.label,
            "video_etag": failure.video.etag,
            "stage": failure.stage.value,
            "kind": failure.kind.value,
            "reason": failure.reason,
            "detail": legible(failure.detail),
            "attempts": failure.attempts,
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
            Kind(row["kind"]),
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
        "run_rank": 0,  # known when all rows are
        "start": start_s,
        "end": end_s,
        "duration": end_s - start_s,
        "score": segment.score,
        "is_viral": segment.score >= stamp.viral_threshold,
        "analysis_method": "VideoMAE + VideoLLaMA3" if analysis.answer else "VideoMAE only",
        "videomae_score": segment.fast_score,
        "videollama3": _answer_struct(analysis.answer, analysis) if analysis.answer else None,
        "deep_status": analysis.status,
        "deep_reason": analysis.reason,
        "thumbnail_uri": segment.thumbnail_uri,
        "clip_uri": segment.clip_uri,
        "models": dict(stamp.models),
    }


def _answer_struct(answer: Answer, analysis: Analysis) -> dict[str, Any]:
    return {
        "virality_score": answer.virality_score,
        "hook_quality": answer.hook_quality,
        "engagement_potential": answer.engagement_potential,
        "expected_score": analysis.expected_score,
        "expected_hook_quality": analysis.expected_hook,
        "expected_engagement_potential": analysis.expected_engagement,
        "viral_elements": list(answer.viral_elements),
        "viral_moments": [
            {"timestamp": moment.timestamp_s, "why": moment.why} for moment in answer.viral_moments
        ],
        "reasoning": answer.reasoning,
        "recommendation": answer.recommendation,
        "frames": analysis.frames,
        "batch_size": analysis.batch_size,
    }


def _video_windows(video: RankedVideo, stamp: RunStamp, schema: pa.Schema) -> pa.Table:
    scored: ScoredVideo = video.scored
    seconds, ref = video.timeline.seconds, video.timeline.video
    ranked = {segment.window for segment in video.segments}
    count = len(scored.windows)
    columns = {
        "run_id": [stamp.run_id] * count,
        "video_uri": [ref.label] * count,
        "video_etag": [ref.etag] * count,
        "start": [seconds(item.window.start) for item in scored.windows],
        "end": [seconds(item.window.end) for item in scored.windows],
        "videomae_score": [item.score for item in scored.windows],
        "fast_kind": [scored.fast_kind] * count,
        "embedding": _fixed_size_list(scored.embeddings),
        "is_candidate": [item.is_candidate for item in scored.windows],
        "suppressed_by": [
            seconds(item.suppressed_by.start) if item.suppressed_by else None for item in scored.windows
        ],
        "reason": [_why_not_ranked(item, ranked) for item in scored.windows],
    }
    return pa.Table.from_pydict(columns, schema=schema)


def _why_not_ranked(scored: ScoredWindow, ranked: set[Window]) -> str | None:
    if scored.window in ranked:
        return None
    if scored.suppressed_by:
        return "overlap"
    return "below_top_n" if scored.is_candidate else "below_cut"


def _fixed_size_list(rows: npt.NDArray[np.float16]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
