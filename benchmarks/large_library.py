"""A library of as many videos as wanted that an earlier run has ranked, made in little memory.

One real run gives models, digests and times; the other videos are empty files with names of their own, and
their rows are drawn at random, with the texts and numbers of real ones in length and variety.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tables import filled, texts

from tasks.adapters.storage.parquet_files import write_tables
from tasks.core.tables.duplicates import with_sketches
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.run_ranking import BEST_FIRST
from tasks.core.tables.schemas import LIBRARY, RANKINGS, SEGMENT, VIDEOLLAMA3, fingerprints_schema
from tasks.core.tables.sorted_rows import in_order
from tasks.run.manifest import file_entry

SEGMENTS = 15
"""Ranked segments of each video."""

LASTS = 59.0
"""Seconds of a segment."""

WRITTEN_NS = 1_700_000_000_000_000_000


def enlarge(videos: Path, output: Path, *, count: int) -> None:
    """Let the run over the one video of a folder have ranked so many videos, which are put there."""
    manifest_path = output / json.loads((output / "latest.json").read_text())["manifest"]
    manifest = json.loads(manifest_path.read_text())
    of_run = f"run_date={manifest['run_date']}/{manifest['run_id']}.parquet"
    paths = {kind: output / kind / of_run for kind in ("rankings", "library", "fingerprints")}
    one, known, seen = (pq.ParquetFile(path).read(use_threads=False).slice(0, 1) for path in paths.values())
    numbers = len(seen["fingerprint"][0].as_py()) // 2
    names = [_put(videos, number) for number in range(count)]
    entries = pa.concat_tables([known, *_entries(known, names)]).sort_by("video_uri")
    write_tables(paths["library"], _grouped(entries), LIBRARY, rows=len(entries))
    write_tables(paths["rankings"], _ranking(one, names), RANKINGS, rows=count * SEGMENTS)
    segments = fingerprints(names, run_id=manifest["run_id"], numbers=numbers)
    write_tables(paths["fingerprints"], segments, fingerprints_schema(numbers), rows=count * SEGMENTS)
    for entry in manifest["files"]:
        if path := paths.get(entry["uri"].rsplit("/", 3)[1]):
            entry |= file_entry(entry["uri"], path, pq.read_metadata(path).num_rows)
    manifest_path.write_text(json.dumps(manifest))


def fingerprints(names: Sequence[str], *, run_id: str, numbers: int) -> Iterator[pa.Table]:
    """What a run saw in the segments of videos, as the table `fingerprints`: in so many numbers each."""
    schema = fingerprints_schema(numbers)
    by_name = np.array(sorted(range(len(names)), key=names.__getitem__), np.int32)
    for first in range(0, len(names) * SEGMENTS, ROW_GROUP_ROWS):
        rows = np.arange(first, min(first + ROW_GROUP_ROWS, len(names) * SEGMENTS), dtype=np.int32)
        video, rank = by_name[rows // SEGMENTS], rows % SEGMENTS + 1
        table = pa.table(
            {
                "run_id": pa.repeat(run_id, len(rows)),
                "video_uri": [names[number] for number in video.tolist()],
                "video_etag": _etags(video.tolist()),
                "start": _starts(video, rank),
                "end": _starts(video, rank) + LASTS,
                "is_original": np.ones(len(rows), np.bool_),
                "compared_with_all": np.ones(len(rows), np.bool_),
                "duplicate_of": pa.nulls(len(rows), SEGMENT),
            }
        )
        yield with_sketches(table, embeddings(first, len(rows), numbers)).select(schema.names).cast(schema)


def embeddings(first: int, count: int, numbers: int) -> npt.NDArray[np.float16]:
    """What was seen in segments, from one on: the same whenever they are drawn."""
    drawn = np.random.default_rng(first).standard_normal((count, numbers), dtype=np.float32)
    return drawn.astype(np.float16)


def _put(videos: Path, number: int) -> str:
    """An empty file that nobody opens; returns its URI."""
    folder = videos / str(2019 + number // 150_000) / f"channel-{number // 1500 % 100:03}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"clip-{number:08}.mp4"
    path.touch()
    os.utime(path, ns=(_written_ns(number), _written_ns(number)))
    return f"file://{path}"


def _written_ns(number: int) -> int:
    return WRITTEN_NS + 1000 * number


def _starts(video: npt.NDArray[np.int32], rank: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    return (rank * 7 + video) % 40 * 3.0


def _etags(numbers: Sequence[int]) -> pa.Array:
    return pa.array([f"0-{_written_ns(number):x}" for number in numbers])


def _entries(known: pa.Table, names: Sequence[str]) -> Iterator[pa.Table]:
    """Rows of the library, like that of the one video."""
    for start in range(0, len(names), ROW_GROUP_ROWS):
        some = names[start : start + ROW_GROUP_ROWS]
        numbers = range(start, start + len(some))
        alike = known.take(pa.array(np.zeros(len(some), np.int64)))
        written = [datetime.fromtimestamp(_written_ns(number) / 1e9, UTC) for number in numbers]
        given = {
            "video_uri": pa.array(some),
            "video_etag": _etags(numbers),
            "size_bytes": pa.array(np.zeros(len(some), np.int64)),
            "last_modified": pa.array(written, LIBRARY.field("last_modified").type),
        }
        yield pa.table({name: given.get(name, alike[name]) for name in LIBRARY.names}, schema=LIBRARY)


def _ranking(one: pa.Table, names: Sequence[str]) -> Iterator[pa.Table]:
    """Rows of the ranking, best first: scores are drawn at once and sorted, all else as it is written."""
    draw = np.random.default_rng(0)
    rows = len(names) * SEGMENTS
    video = np.repeat(np.arange(len(names), dtype=np.int32), SEGMENTS)
    rank = np.tile(np.arange(1, SEGMENTS + 1, dtype=np.int32), len(names))
    shuffled = draw.permutation(rows)
    video, rank = video[shuffled], rank[shuffled]
    score = np.sort(draw.normal(50, 16, rows).clip(0, 100).astype(np.int32))[::-1]
    # Within a score, the expected score decides: it falls, by steps that a float32 can tell apart.
    _, first, same = np.unique(-score, return_index=True, return_counts=True)
    place = np.arange(rows) - np.repeat(first, same)
    expected = (100 * (1 - place / np.repeat(same, same))).astype(np.float32)
    for start in range(0, rows, ROW_GROUP_ROWS):
        part = slice(start, start + ROW_GROUP_ROWS)
        table = _rows(one, names, video[part], rank[part], score[part], expected[part], start, draw)
        yield in_order(table, BEST_FIRST).combine_chunks()


def _rows(
    one: pa.Table,
    names: Sequence[str],
    video: npt.NDArray[np.int32],
    rank: npt.NDArray[np.int32],
    score: npt.NDArray[np.int32],
    expected: npt.NDArray[np.float32],
    start: int,
    draw: np.random.Generator,
) -> pa.Table:
    count = len(video)
    alike = one.take(pa.array(np.zeros(count, np.int64)))
    answer: dict[str, Any] = {
        **{
            name: pa.array(draw.integers(0, 101, count), pa.int32())
            for name in ("virality_score", "hook_quality")
        },
        "expected_score": pa.array(expected),
        "reasoning": texts(count, 30, draw),
        "recommendation": texts(count, 12, draw),
    }
    given = {
        "video_uri": pa.array([names[number] for number in video.tolist()]),
        "video_etag": _etags(video.tolist()),
        "rank": pa.array(rank),
        "run_rank": pa.array(np.arange(start + 1, start + count + 1, dtype=np.int32)),
        "start": pa.array(_starts(video, rank)),
        "end": pa.array(_starts(video, rank) + LASTS),
        "score": pa.array(score),
        "videomae_score": pa.array(draw.integers(0, 101, count), pa.int32()),
        "videollama3": pa.StructArray.from_arrays(
            list(filled(answer, count, pa.schema(list(VIDEOLLAMA3))).values()), fields=list(VIDEOLLAMA3)
        ),
        "video_percentile": pa.array(draw.random(count) * 100),
        "margin": pa.array(draw.integers(0, 40, count), pa.int32()),
        "moment": pa.array(rank),
        "best_of_moment": pa.array(np.ones(count, np.bool_)),
    }
    return pa.table({name: given.get(name, alike[name]) for name in RANKINGS.names}, schema=RANKINGS)


def _grouped(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, len(table), ROW_GROUP_ROWS):
        yield table.slice(start, ROW_GROUP_ROWS).combine_chunks()
