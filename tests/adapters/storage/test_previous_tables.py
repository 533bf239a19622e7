"""What an earlier run left is taken as it is if it is as it was written; else it is sorted, or refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tasks.adapters.storage import open_store
from tasks.adapters.storage import parquet_files as files
from tasks.adapters.storage.parquet_files import ParquetRows, write_tables
from tasks.adapters.storage.previous_tables import fetch_library, fetch_rankings
from tasks.core.errors import StorageError
from tasks.core.manifest import Manifest
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import library_table, ranked_entry
from tasks.core.tables.schemas import LIBRARY, RANKINGS, table_name
from tests.rankings import rankings_table
from tests.report import STAMP, manifest, ranked_video

VIDEOS = [ranked_video(f"s3://b/{name}.mp4") for name in "cab"]
RANKING = rankings_table(VIDEOS, STAMP)
RUN = manifest()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def left(folder: Path, kind: str, table: pa.Table, schema: pa.Schema, *, is_noted: bool = True) -> Manifest:
    """A run that has written this table under `folder`; its manifest says so, or not."""
    path = folder / table_name(kind, run_date=RUN.run_date, run_id=RUN.run_id)
    path.parent.mkdir(parents=True)
    write_tables(path, [table], schema, rows=len(table))
    uri = f"s3://where/it/was/before/{path.relative_to(folder)}"
    entry = {"uri": uri, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return RUN.model_copy(update={"files": [entry] if is_noted else []})


def test_a_ranking_that_is_as_it_was_written_is_not_written_again(tmp_path: Path, scratch: Path) -> None:
    run = left(tmp_path, "rankings", RANKING, RANKINGS)
    rows, ranked = fetch_rankings(open_store(str(tmp_path)), run, scratch)
    (file,) = tmp_path.glob("rankings/*/*.parquet")
    assert rows.path.read_bytes() == file.read_bytes()
    assert ranked.to_pylist() == ["s3://b/a.mp4", "s3://b/b.mp4", "s3://b/c.mp4"]


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_ranking_in_another_order_is_sorted(tmp_path: Path, scratch: Path, is_noted: bool) -> None:
    backwards = RANKING.take(pa.array(range(len(RANKING)))[::-1])
    run = left(tmp_path, "rankings", backwards, RANKINGS, is_noted=is_noted)
    rows, ranked = fetch_rankings(open_store(str(tmp_path)), run, scratch)
    assert pa.concat_tables(rows()).equals(RANKING)
    assert len(ranked) == 3


def test_of_a_video_whose_best_row_somebody_took_out_no_row_stays(tmp_path: Path, scratch: Path) -> None:
    uri = pa.scalar("s3://b/b.mp4")
    best = pc.and_(pc.equal(RANKING["video_uri"], uri), pc.equal(RANKING["rank"], 1))
    run = left(tmp_path, "rankings", RANKING.filter(pc.invert(best)), RANKINGS, is_noted=False)
    rows, ranked = fetch_rankings(open_store(str(tmp_path)), run, scratch)
    others = RANKING.filter(pc.not_equal(RANKING["video_uri"], uri))
    assert len(others) < len(RANKING) - 1
    assert pa.concat_tables(rows()).equals(others)
    assert ranked.to_pylist() == ["s3://b/a.mp4", "s3://b/c.mp4"]


@pytest.mark.parametrize("column", ["models.videomae", "score"])
def test_a_file_that_was_damaged_since_is_refused_before_it_is_used(
    tmp_path: Path, scratch: Path, column: str
) -> None:
    run = left(tmp_path, "rankings", RANKING, RANKINGS)
    (file,) = tmp_path.glob("rankings/*/*.parquet")
    group = pq.read_metadata(file).row_group(0)
    (chunk,) = [c for n in range(group.num_columns) if (c := group.column(n)).path_in_schema == column]
    content = bytearray(file.read_bytes())
    start = chunk.dictionary_page_offset
    content[start : start + chunk.total_compressed_size] = b"\0" * chunk.total_compressed_size
    file.write_bytes(content)
    with pytest.raises(StorageError, match="Rank again"):
        fetch_rankings(open_store(str(tmp_path)), run, scratch)


@pytest.mark.parametrize("rows_at_once", [1, 100])
def test_of_a_library_in_any_order_the_last_row_of_a_video_counts(
    tmp_path: Path, scratch: Path, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROW_GROUP_ROWS", rows_at_once)
    c, a, b = (ranked_entry(each, Digests("", "", ""), run_id="r", run_date=RUN.run_date) for each in VIDEOS)
    again = [library_table([replace(a, unanswered=n)], listed=()) for n in (7, 8)]
    table = pa.concat_tables([library_table([b, c], listed=()), *again])
    run = left(tmp_path, "library", table, LIBRARY)
    library = pa.concat_tables(fetch_library(open_store(str(tmp_path)), run, scratch)())
    assert library["video_uri"].to_pylist() == ["s3://b/a.mp4", "s3://b/b.mp4", "s3://b/c.mp4"]
    assert library["unanswered"].to_pylist() == [8, 0, 0]


def test_large_row_groups_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"a": range(10), "b": [{"c": str(n)} for n in range(10)]})
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=7)
    monkeypatch.setattr(files, "ROW_GROUP_ROWS", 4)
    rows = ParquetRows(tmp_path / "one.parquet")
    assert [len(some) for some in rows()] == [4, 3, 3]
    assert pa.concat_tables(rows()).equals(table)
    assert pa.concat_tables(rows(["b.c"]))["b"].to_pylist() == table["b"].to_pylist()


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    for tables in ([], [LIBRARY.empty_table()]):
        assert write_tables(tmp_path / "none.parquet", tables, LIBRARY, rows=0) == 0
        empty = pq.ParquetFile(tmp_path / "none.parquet")
        assert (empty.schema_arrow.names, empty.num_row_groups) == (LIBRARY.names, 1)
