"""A library of many videos that an earlier run has ranked: made from one real run over a few of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.storage import open_store
from tasks.adapters.storage.parquet_files import write_tables
from tasks.core.records import VideoRef
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.run_ranking import BEST_FIRST, with_column
from tasks.core.tables.sorted_rows import BY_VIDEO, in_order, regrouped
from tasks.run.manifest import file_entry

TABLES = ("rankings", "windows", "library", "failures")


def multiply(videos: Path, output: Path, *, times: int) -> None:
    """Copy the videos of a ranked folder so often, and let the run over them have ranked the copies too.

    Copies are links to the same bytes under other names.
    """
    originals = sorted(videos.iterdir())
    for number in range(1, times):
        for video in originals:
            os.link(video, videos / f"{number:05}-{video.name}")
    manifest_path = output / json.loads((output / "latest.json").read_text())["manifest"]
    manifest = json.loads(manifest_path.read_text())
    listed = {video.label: video for video in open_store(str(videos)).videos("**/*")}
    for kind in TABLES:
        path = output / kind / f"run_date={manifest['run_date']}" / f"{manifest['run_id']}.parquet"
        table = pq.ParquetFile(path).read(use_threads=False)
        copies = pa.concat_tables([_renamed(table, number, listed) for number in range(times)])
        if kind == "rankings":
            ranks = pa.array(range(1, len(copies) + 1), pa.int32())
            copies = with_column(in_order(copies, BEST_FIRST), "run_rank", ranks)
        else:
            copies = in_order(copies, BY_VIDEO)
        write_tables(path, regrouped([copies], ROW_GROUP_ROWS), copies.schema, rows=len(copies))
        for entry in manifest["files"]:
            if f"/{kind}/" in entry["uri"]:
                entry |= file_entry(entry["uri"], path, len(copies))
    manifest_path.write_text(json.dumps(manifest))


def _renamed(table: pa.Table, number: int, listed: dict[str, VideoRef]) -> pa.Table:
    """The rows of the copies of one number."""
    uris: Sequence[Any] = table["video_uri"].to_pylist()
    if number:
        uris = [f"{uri.rsplit('/', 1)[0]}/{number:05}-{uri.rsplit('/', 1)[1]}" for uri in uris]
    etags = [listed[uri].etag for uri in uris]
    for name, values in (("video_uri", uris), ("video_etag", etags)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(name), pa.array(values, pa.string()))
    return table
