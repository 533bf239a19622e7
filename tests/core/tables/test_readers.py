"""Every table opens in what analysts have, without a special line; earlier versions with a documented one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tasks.core.tables.digests import Digests
from tasks.core.tables.library import library_table, ranked_entry
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.rows import failures_table, windows_table
from tasks.core.tables.schemas import LABELS
from tests import FIXTURES, ROOT
from tests.rankings import rankings_table
from tests.report import STAMP, answer, failure, ranked_video

DAYS = (date(2026, 11, 25), date(2026, 11, 26))
EMBEDDINGS = np.arange(80).reshape(20, 4).astype(np.float16) / 7


def tables(day: date) -> dict[str, pa.Table]:
    """What a run publishes, and the labels that came in that day."""
    stamp = replace(STAMP, run_id=f"{day:%Y%m%d}")
    video = ranked_video(answered=answer())
    video = replace(video, scored=replace(video.scored, embeddings=EMBEDDINGS))
    label = {"video_uri": "s3://b/a.mp4", "start": 0.0, "end": 5.0, "verdict": "published", "match": "ranked"}
    imported = {"imported_at": datetime(2026, 11, 26, tzinfo=UTC), "labelled_on": day, "views": 7}
    entry = ranked_entry(video, Digests("1", "2", "3"), run_id=stamp.run_id, run_date=day)
    return {
        "rankings": rankings_table([video], stamp),
        "windows": windows_table([video], stamp, dimensions=4),
        "failures": failures_table([failure()], stamp),
        "library": library_table([entry], listed={entry.video.label}),
        "labels": pa.Table.from_pylist([label | imported], schema=LABELS),
    }


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    for day in DAYS:
        for name, table in tables(day).items():
            path = folder / name / f"run_date={day}" / f"{day:%Y%m%d}.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(table, path, **write_options(table))
    return folder


def with_duckdb(folder: Path) -> list[dict[str, Any]]:
    found = duckdb.connect().execute(f"from '{folder}/*/*.parquet'")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


READERS: dict[str, Callable[[Path], list[Any]]] = {
    "pandas": lambda folder: pd.read_parquet(folder).to_dict("records"),
    "Polars": lambda folder: pl.scan_parquet(f"{folder}/").collect().to_dicts(),
    "DuckDB": with_duckdb,
    "pyarrow": lambda folder: ds.dataset(folder, partitioning="hive").to_table().to_pylist(),
}


@pytest.mark.parametrize("table", tables(DAYS[0]))
@pytest.mark.parametrize("reader", READERS)
def test_every_table_opens_without_a_special_line(output: Path, reader: str, table: str) -> None:
    rows = READERS[reader](output / table)
    expected = [row for day in DAYS for row in tables(day)[table].to_pylist()]
    assert len(rows) == len(expected)
    assert {str(row["run_date"]) for row in rows} == {str(day) for day in DAYS}
    assert [*rows[0]] == [*expected[0], "run_date"]
    if table == "windows":
        found = np.array([row["embedding"] for row in rows], dtype=np.float32)
        assert np.array_equal(found, np.concatenate([EMBEDDINGS] * 2).astype(np.float32))


READ_BY_ALL = {
    "NONE", "STRING", "DATE", "TIMESTAMP", "BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY"
}  # fmt: skip
"""Types of Parquet that Spark 4 and ClickHouse read; FLOAT16 is not among them."""
ENCODED_FOR_ALL = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}
"""Spark 4.0 knows BYTE_STREAM_SPLIT by its name only."""


@pytest.mark.parametrize("table", tables(DAYS[0]))
def test_no_table_has_a_type_or_an_encoding_that_spark_refuses(output: Path, table: str) -> None:
    for path in (output / table).rglob("*.parquet"):
        metadata = pq.ParquetFile(path).metadata
        for number in range(metadata.num_columns):
            column, chunk = metadata.schema.column(number), metadata.row_group(0).column(number)
            kind = column.logical_type.type
            assert {column.physical_type, kind} <= READ_BY_ALL
            assert set(chunk.encodings) <= ENCODED_FOR_ALL


POLARS_OVER_VERSIONS = (
    'missing_columns="insert", extra_columns="ignore", '
    'cast_options=pl.ScanCastOptions(float_cast=["upcast", "downcast"])'
)


@pytest.fixture(scope="module")
def with_earlier(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`windows` of an earlier version, whose embeddings are in half precision, beside those of this one."""
    folder = tmp_path_factory.mktemp("windows")
    shutil.copytree(FIXTURES / "published-schema-2" / "windows", folder, dirs_exist_ok=True)
    for path in folder.rglob("*.parquet"):  # as wide as ours
        table = pq.ParquetFile(path).read()
        embeddings = np.array(table["embedding"].to_pylist(), dtype=np.float16)[:, :4]
        values = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), 4)
        place = table.schema.get_field_index("embedding")
        pq.write_table(table.set_column(place, "embedding", values), path)
    return Path(shutil.copytree(output / "windows", folder, dirs_exist_ok=True))


@pytest.mark.parametrize("reader", READERS)
def test_half_precision_of_earlier_versions_is_read_beside_it(with_earlier: Path, reader: str) -> None:
    if reader == "Polars":
        assert POLARS_OVER_VERSIONS in (ROOT / "docs" / "data.md").read_text()
        rows = eval(f"pl.scan_parquet('{with_earlier}/', {POLARS_OVER_VERSIONS})").collect().to_dicts()
    else:
        rows = READERS[reader](with_earlier)
    assert len(rows) == 13 + 40
    assert all(len(row["embedding"]) == 4 for row in rows)
