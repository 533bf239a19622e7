"""Answers in the words of the old API, made of what runs have published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.adapters.storage import open_store
from tasks.adapters.storage.published import read_rows_of
from tasks.core.scoring.windows import windows
from tasks.core.settings import Settings
from tasks.core.tables.library import LibraryEntry, read_library

SEGMENT = ("start", "end", "duration", "score", "is_viral", "analysis_method")
DEEP = (
    *("virality_score", "hook_quality", "engagement_potential"),
    *("viral_elements", "reasoning", "recommendation"),
)
CUT = ("cut_start", "cut_end", "cut_clean")
COLUMNS = ["video_uri", "rank", "transcript", *SEGMENT, *(f"videollama3.{name}" for name in DEEP)]
"""What an answer needs of a ranking; where this version has written it, also the `CUT`."""


def read_answer(
    output: str, run_id: str, settings: Settings, *, video_uri: str
) -> tuple[str, dict[str, Any]]:
    """The ETag of a video, and the answer about it as a run has published it, without `video_path`.

    Raises:
        StorageError: it cannot be read any more.
    """
    store, about = open_store(output), {"run_id": run_id, "run_date": run_date(run_id)}
    (entry,) = read_library(read_rows_of(store, "library", None, video=video_uri, **about)).values()
    rows = read_rows_of(store, "rankings", [*COLUMNS, *CUT], video=video_uri, **about).to_pylist()
    return entry.video.etag, answer(rows, entry, settings, run_id=run_id)


def answer(
    rows: Sequence[Mapping[str, Any]], entry: LibraryEntry, settings: Settings, *, run_id: str
) -> dict[str, Any]:
    """The answer of the rows of one video, and of what the library has about it, without `video_path`.

    Raises:
        ValueError: the library has the video as one that was not ranked.
    """
    timeline, cut = entry.timeline, settings.windows
    if timeline is None:
        raise ValueError(f"{entry.video.label} was not ranked")
    lengths = [seconds * timeline.fps for seconds in cut.window_seconds]
    every = windows(timeline.n_ticks, lengths=lengths, stride=cut.stride_seconds * timeline.fps)
    return {
        "success": True,
        "total_duration": timeline.duration_s,
        "total_windows": len(every),
        "parameters": {
            "top_n": settings.ranking.top_n,
            "window_seconds": cut.window_seconds[0] if len(cut.window_seconds) == 1 else cut.window_seconds,
            "stride_seconds": cut.stride_seconds,
        },
        "top_segments": [_segment(row) for row in sorted(rows, key=lambda row: int(row["rank"]))],
        "run_id": run_id,
    }


def run_date(run_id: str) -> str:
    """The day of a run, which its id begins with.

    >>> run_date("20261126T020000Z-0a1b2c")
    '2026-11-26'
    """
    return str(datetime.strptime(run_id[:8], "%Y%m%d").date())


def _segment(row: Mapping[str, Any]) -> dict[str, Any]:
    segment = {name: row[name] for name in SEGMENT}
    if row.get("cut_start") is not None:
        segment |= {name: row[name] for name in CUT}
    if row.get("transcript") is not None:
        segment["transcript"] = row["transcript"]
    if deep := row["videollama3"]:
        segment["videollama3"] = {name: deep[name] for name in DEEP}
    return segment
