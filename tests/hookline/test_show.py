"""What of a run is printed, and how much of it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from hookline.show import MOST_FAILURES, MOST_VIDEOS, print_run
from tasks.adapters.storage import open_store
from tasks.core.schemas import FAILURES, RANKINGS, table_name


def manifest_of(output: Path, *, videos: int, failures: int) -> dict[str, Any]:
    """A run of so many videos, the last of which is the best, with two segments each."""
    ranked = [
        {
            "video_uri": f"s3://b/{video:04}.mp4",
            "rank": rank,
            "run_rank": 2 * (videos - video) + rank,
            "start": 0.0,
            "end": 59.0,
            "score": video,
            "videomae_score": video,
            "is_viral": False,
        }
        for video in reversed(range(videos))
        for rank in (1, 2)
    ]
    refused = [
        {"video_uri": f"s3://b/bad-{n:04}.mp4", "reason": "empty", "detail": "It is empty."}
        for n in range(failures)
    ]
    for kind, rows, schema in (("rankings", ranked, RANKINGS), ("failures", refused, FAILURES)):
        path = output / table_name(kind, run_date="2026-11-22", run_id="run-1")
        path.parent.mkdir(parents=True)
        nullable = pa.schema([column.with_nullable(True) for column in schema])
        pq.write_table(pa.Table.from_pylist(rows, schema=nullable), path)
    return {
        "run_id": "run-1",
        "run_date": "2026-11-22",
        "source": "s3://b",
        "state": "Completed",
        "message": "done",
        "counts": {"windows": 0, "candidates": 0},
        "seconds": {"whole": 1.0},
    }


def printed(output: Path, **size: int) -> str:
    console = Console(file=StringIO(), width=120)
    manifest = manifest_of(output, **size)
    print_run(console, open_store(str(output)), manifest)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("more", [0, 1234])
def test_of_many_videos_the_best_are_printed(tmp_path: Path, more: int) -> None:
    text = printed(tmp_path, videos=MOST_VIDEOS + more, failures=0)
    shown = [f"{video:04}.mp4" in text for video in range(MOST_VIDEOS + more)]
    assert shown == [False] * more + [True] * MOST_VIDEOS
    assert ("... and 1,234 more videos" in text) is (more == 1234)
    assert (f"{tmp_path}/rankings/run_date=2026-11-22/run-1.parquet" in text) is (more == 1234)


def test_of_many_failures_the_first_are_printed(tmp_path: Path) -> None:
    text = printed(tmp_path, videos=1, failures=MOST_FAILURES + 7)
    assert text.count("It is empty.") == MOST_FAILURES
    assert "... and 7 more failures" in text
