"""A small library of videos for tests of the whole path, and settings that make short work of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.settings import Settings
from tests.media import cut_short, numbered_video, playlist, sound_only
from tests.s3 import Bucket

BROKEN = {
    "empty.mp4": "empty",
    "page.mp4": "not_a_video",
    "playlist.mp4": "playlist",
    "sound.mp4": "no_video_stream",
    "truncated.mp4": "truncated",
}
"""What `write_broken_videos` makes, and the reason each is refused for."""


def write_good_videos(folder: Path) -> None:
    """Three videos that can be ranked, one of them in a folder of its own."""
    (folder / "more").mkdir(parents=True)
    numbered_video(folder / "first.mp4", seconds=14)
    numbered_video(folder / "second.mkv", seconds=9, fps="12.5")
    numbered_video(folder / "more" / "THIRD.MP4", seconds=11)


def write_broken_videos(folder: Path) -> None:
    """One file for each way of `BROKEN`; the playlist names a video that lies beside it."""
    (folder / "empty.mp4").touch()
    (folder / "page.mp4").write_text("<!DOCTYPE html><html><body>404</body></html>" * 50)
    playlist(folder / "playlist.mp4", neighbour=folder / "first.mp4")
    sound_only(folder / "sound.mp4")
    whole = numbered_video(folder / "whole.mp4", seconds=8)
    cut_short(whole, folder / "truncated.mp4", fraction=0.6)
    whole.unlink()


def quick_settings(source: object, output: object, models: Path, **groups: Any) -> Settings:
    """Short windows, few candidates, no audit, demo models; what is said is not written down."""
    quick: dict[str, Any] = {
        "source": str(source),
        "output": str(output),
        "windows": {"window_seconds": [5], "stride_seconds": 2},
        "fast": {"model": str(models / "videomae")},
        "deep": {"model": str(models / "videollama3"), "max_new_tokens": 160},
        "speech": {"transcribe": False},
        "ranking": {"top_n": 2, "candidate_multiplier": 2},
        "audit": {"windows": 0},
    }
    for name, group in groups.items():
        quick[name] = quick.get(name, {}) | group if isinstance(group, dict) else group
    return Settings.model_validate(quick)


def read_table(output: Path, kind: str, run_id: str) -> pa.Table:
    """One table of a run, published to a folder."""
    (path,) = (output / kind).glob(f"run_date=*/{run_id}.parquet")
    return pq.ParquetFile(path).read()


ABOUT_THE_RUN_BEFORE = ("previous_run_id", "previous_rank", "previous_run_rank")


def rows_without(table: pa.Table, *columns: str) -> list[dict[str, Any]]:
    """The rows, less what differs from run to run: these columns, and what there was in the run before."""
    left_out = [name for name in table.column_names if name in (*columns, *ABOUT_THE_RUN_BEFORE)]
    assert {*columns} <= {*left_out}, "a column of this name is not there"
    return table.drop_columns(left_out).to_pylist()


def upload(folder: Path, bucket: Bucket, prefix: str) -> None:
    """Put every file of a folder into a bucket."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())


def portable(table: pa.Table, source: str) -> list[dict[str, Any]]:
    """Rows that compare between stores: videos by their name in the source, in a fixed order."""
    rows = rows_without(table, "run_id", "video_etag")
    for row in rows:
        row.pop("thumbnail_uri", None)  # named by URI and ETag
        row["video_uri"] = row["video_uri"].removeprefix(f"{source}/")
    return sorted(rows, key=lambda row: (row["video_uri"], row.get("start") or 0.0))
