"""The Arrow schemas of what is published, each defined once, and where the files lie.

`run_date` is a column of every table, but it is not in the files: DuckDB, Polars, pandas and Spark read it
from the folder's name, `run_date=YYYY-MM-DD/`, and pandas refuses a file that has it too.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = "4"
"""Grows when a column is added; columns are never renamed or removed. docs/data.md says what came when."""


def table_name(table: str, *, run_date: object, run_id: str) -> str:
    """Where a table of a run lies under the output."""
    return f"{table}/run_date={run_date}/{run_id}.parquet"


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

SUPPRESSED = pa.list_(
    pa.struct([("start", pa.float64()), ("end", pa.float64()), ("videomae_score", pa.int32())])
)

SEGMENT = pa.struct([("video_uri", pa.string()), ("start", pa.float64()), ("end", pa.float64())])

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
        # Since 3: why it has this rank.
        pa.field("deep_weight", pa.float64()),
        pa.field("fast_weight", pa.float64()),
        pa.field("video_percentile", pa.float64()),
        pa.field("library_percentile", pa.float64()),
        pa.field("margin", pa.int32()),
        pa.field("suppressed", SUPPRESSED),
        pa.field("previous_run_id", pa.string()),
        pa.field("previous_rank", pa.int32()),
        pa.field("previous_run_rank", pa.int32()),
        # Since 4: what the deep model computed on; a fast score that says nothing; which rows show the same.
        pa.field("videollama3_device", pa.string()),
        pa.field("videollama3_dtype", pa.string()),
        pa.field("fast_reason", pa.string()),
        pa.field("moment", pa.int32()),
        pa.field("best_of_moment", pa.bool_()),
        # Since 4: what is watched of it, and what is heard in that.
        pa.field("cut_start", pa.float64()),
        pa.field("cut_end", pa.float64()),
        pa.field("cut_clean", pa.bool_()),
        pa.field("speech_ratio", pa.float32()),
        pa.field("speech_status", pa.string()),
        pa.field("speech_reason", pa.string()),
        # Since 4: what is said, in which language.
        pa.field("language", pa.string()),
        # Since 4: which head, wherever it lies; a column of its own, as what the deep model computes on is.
        pa.field("head_revision", pa.string()),
        # Since 4: what the clip shows.
        pa.field("clip_start", pa.float64()),
        pa.field("clip_end", pa.float64()),
        pa.field("clip_captions", pa.string()),
        # Since 4: what the deep model was tuned with.
        pa.field("adapter", pa.string()),
        pa.field("adapter_revision", pa.string()),
        # Since 4: where the timeline for editing programs lies.
        pa.field("timeline_uri", pa.string()),
        # Since 4: what labels say of its score.
        pa.field("publish_probability", pa.float64()),
        # Since 4: which segment of another video shows the same.
        pa.field("duplicate_of", SEGMENT),
        pa.field("duplicate_similarity", pa.float32()),
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
        # Since 4: what people asked of a video.
        pa.field("last_modified", pa.timestamp("us", tz="UTC")),
        pa.field("codec", pa.string()),
        pa.field("source_width", pa.int32()),
        pa.field("source_height", pa.int32()),
        pa.field("source_fps", pa.float64()),
        pa.field("fetch_seconds", pa.float64()),
        pa.field("decode_seconds", pa.float64()),
        pa.field("fast_seconds", pa.float64()),
        pa.field("deep_seconds", pa.float64()),
        pa.field("unused", pa.string()),
        # Since 4: whether the run listed it, and which run decided its ranks.
        pa.field("listed", pa.bool_()),
        pa.field("ranked_in", pa.string()),
        # Since 4: what is heard.
        pa.field("sound_damage", pa.string()),
        pa.field("untranscribed", pa.bool_()),
        # Since 4: what its embeddings rest on, and the newer scores that it has not got yet.
        pa.field("embedding_digest", pa.string()),
        pa.field("waits_for", pa.string()),
        # Since 4: by what its pictures are counted.
        pa.field("source_timecode", pa.string()),
        pa.field("source_rate", pa.float64()),
    ]
)
"""What the next run knows about each video before it opens it. `status` is `ranked` or `rejected`; the
columns about scores and timeline are null for rejected videos. `last_listed` is the day of the last run that
listed the video: a run over a part of the source keeps the others."""


LABELS = pa.schema(
    [
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_etag", pa.string()),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("views", pa.int64()),
        pa.field("labelled_on", pa.date32()),
        pa.field("match", pa.string(), nullable=False),
        pa.field("scored_in", pa.string()),
        pa.field("imported_at", pa.timestamp("us", tz="UTC"), nullable=False),
        # Since 4: labels of other times than those of a window, such as of a final cut.
        pa.field("given_start", pa.float64()),
        pa.field("given_end", pa.float64()),
        pa.field("iou", pa.float64()),
    ]
)
"""What editors decided about segments. `match` says how the label was matched with the windows; `scored_in`
is the run whose `windows` have the segment, null if none has."""


CURVES = pa.schema(
    [
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_etag", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("scored_in", pa.string()),
        pa.field("imported_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""What a curve over a video says of each of its windows: its mean there."""


WORDS = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_etag", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("word", pa.string(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),
        pa.field("segment", pa.int32(), nullable=False),
    ]
)
"""What is said in the candidates of videos; `segment` counts the stretches that were heard at once."""


EVALUATIONS = pa.schema(
    [
        pa.field("head", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("score", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("n_videos", pa.int32(), nullable=False),
        pa.field("n_rows", pa.int64(), nullable=False),
        pa.field("n_undefined", pa.int32(), nullable=False),
        pa.field("weighted", pa.bool_(), nullable=False),
        pa.field("note", pa.string()),
    ]
)
"""How good each score is, as `hookline evaluate` found it."""


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
            # Until 3 it was float16, which Spark refuses together with all other columns of its table.
            pa.field("embedding", pa.list_(pa.float32(), dimensions), nullable=False),
            pa.field("is_candidate", pa.bool_(), nullable=False),
            pa.field("suppressed_by", pa.float64()),
            pa.field("reason", pa.string()),
            # Since 3: the end of the stronger window, and what a candidate came to.
            pa.field("suppressed_by_end", pa.float64()),
            pa.field("score", pa.int32()),
            # Since 4: what is heard.
            pa.field("loudness", pa.float32()),
            pa.field("loudness_peak", pa.float32()),
            pa.field("bursts", pa.int32()),
            pa.field("silence_before_burst", pa.float32()),
            pa.field("speech_ratio", pa.float32()),
            pa.field("cut_start", pa.float64()),
            pa.field("cut_end", pa.float64()),
            # Since 4: what a head of the fast score is fitted on, and how good its choice was.
            pa.field("change", pa.float32()),
            pa.field("deep_status", pa.string()),
            pa.field("deep_score", pa.int32()),
            pa.field("deep_expected_score", pa.float32()),
            pa.field("pack_rank", pa.int32()),
            pa.field("audited", pa.bool_()),
            pa.field("audit_probability", pa.float64()),
            # Since 4: what was taken as a candidate because its answer was known under another head.
            pa.field("analysed_before", pa.bool_()),
        ]
    )


SKETCH_NUMBERS = 64


def fingerprints_schema(dimensions: int) -> pa.Schema:
    """Schema of `fingerprints`; `dimensions` as in `windows_schema`. Two bytes hold a number."""
    return pa.schema(
        [
            pa.field("run_id", pa.string(), nullable=False),
            pa.field("video_uri", pa.string(), nullable=False),
            pa.field("video_etag", pa.string(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("end", pa.float64(), nullable=False),
            pa.field("is_original", pa.bool_(), nullable=False),
            pa.field("sketch", pa.binary(2 * min(dimensions, SKETCH_NUMBERS)), nullable=False),
            pa.field("fingerprint", pa.binary(2 * dimensions), nullable=False),
            pa.field("duplicate_of", SEGMENT),
            pa.field("compared_with_all", pa.bool_()),
        ]
    )


def upgraded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table of any schema version with the columns of this one: those that came later are null.

    Raises:
        KeyError, pyarrow.ArrowException: it is no such table.
    """
    for field in schema:
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)
