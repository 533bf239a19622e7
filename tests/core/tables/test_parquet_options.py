"""What a question does not ask for is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.tables import parquet_options as layout
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.schemas import RANKINGS, windows_schema

ROWS = 100


@pytest.fixture(autouse=True)
def _small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROW_GROUP_ROWS", 10)


def rows_of(schema: pa.Schema, **given: Any) -> pa.Table:
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    return pa.Table.from_pylist(
        [{name: of(n) for name, of in given.items()} for n in range(ROWS)], schema=nullable
    )


def written(table: pa.Table, folder: Path) -> pq.FileMetaData:
    path = folder / "table.parquet"
    pq.write_table(table, path, **write_options(table))
    parquet = pq.ParquetFile(path)
    assert parquet.read().equals(table)
    return parquet.metadata


def columns(metadata: pq.FileMetaData, name: str) -> list[Any]:
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    return [
        group.column(n)
        for group in groups
        for n in range(group.num_columns)
        if group.column(n).path_in_schema == name
    ]


def test_the_windows_of_a_video_lie_in_few_row_groups(tmp_path: Path) -> None:
    table = rows_of(
        windows_schema(4), video_uri=lambda n: f"s3://b/{n // 5:03}", embedding=lambda n: np.full(4, n / 7)
    )
    found = columns(written(table, tmp_path), "video_uri")
    assert len(found) == ROWS / 10
    holding = [c for c in found if c.statistics.min <= "s3://b/007" <= c.statistics.max]
    assert len(holding) == 1


def test_embeddings_have_neither_a_dictionary_nor_statistics(tmp_path: Path) -> None:
    table = rows_of(windows_schema(4), embedding=lambda n: np.full(4, n / 7), video_uri=lambda n: "s3://b/a")
    metadata = written(table, tmp_path)
    (embedding, *_) = columns(metadata, "embedding.list.element")
    (uri, *_) = columns(metadata, "video_uri")
    assert (embedding.has_dictionary_page, embedding.is_stats_set) == (False, False)
    assert (uri.has_dictionary_page, uri.is_stats_set) == (True, True)


def test_a_ranking_tells_by_score_and_by_video_what_need_not_be_read(tmp_path: Path) -> None:
    table = rows_of(
        RANKINGS,
        video_uri=lambda n: f"s3://b/{n * 37 % ROWS:03}",
        score=lambda n: ROWS - n,
        videollama3=lambda n: {"hook_quality": n, "viral_elements": ["surprise"]},
    )
    metadata = written(table, tmp_path)
    assert sum(column.statistics.max >= 80 for column in columns(metadata, "score")) == 3
    assert all(column.bloom_filter_length for column in columns(metadata, "video_uri"))
    assert all(column.is_stats_set for column in columns(metadata, "videollama3.hook_quality"))
    elements = columns(metadata, "videollama3.viral_elements.list.element")
    assert all(column.has_dictionary_page for column in elements)


def test_an_empty_table_is_written_too(tmp_path: Path) -> None:
    for schema in (RANKINGS, windows_schema(4)):
        assert written(schema.empty_table(), tmp_path).num_rows == 0
