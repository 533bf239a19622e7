"""The rows of one video are read out of a large table, and little else of its file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.adapters.storage import open_store
from tasks.adapters.storage.published import read_rows_of
from tasks.core.errors import StorageError

URIS = [f"file:///videos/{number:02}.mp4" for number in range(40)]
RUN = {"run_date": "2026-11-26", "run_id": "20261126T020000Z-0a1b2c"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A table of 40 videos with 3 rows each, 6 rows a row group."""
    folder = tmp_path / "windows" / f"run_date={RUN['run_date']}"
    folder.mkdir(parents=True)
    rows = [(RUN["run_id"], uri, start) for uri in URIS for start in range(3)]
    table = pa.table(
        dict(zip(("run_id", "video_uri", "start"), map(list, zip(*rows, strict=True)), strict=True))
    )
    pq.write_table(table, folder / f"{RUN['run_id']}.parquet", row_group_size=6)
    return tmp_path


@pytest.mark.parametrize("uri", [URIS[0], URIS[7], URIS[39]])
def test_all_rows_of_a_video_are_found(output: Path, uri: str) -> None:
    rows = read_rows_of(open_store(str(output)), "windows", ["video_uri", "start"], video=uri, **RUN)
    assert rows.to_pylist() == [{"video_uri": uri, "start": start} for start in range(3)]


def test_a_video_that_is_not_there_has_no_rows(output: Path) -> None:
    assert not len(read_rows_of(open_store(str(output)), "windows", None, video="file:///a.mp4", **RUN))


def test_other_row_groups_are_not_read(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []
    real = pq.ParquetFile.read_row_groups

    def noting(file: pq.ParquetFile, groups: list[int], **options: object) -> pa.Table:
        read.append(groups)
        return real(file, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", noting)
    read_rows_of(open_store(str(output)), "windows", None, video=URIS[7], **RUN)
    assert read == [[3]]


def test_a_file_that_is_no_table_is_named(output: Path) -> None:
    (path,) = output.glob("windows/*/*.parquet")
    path.write_bytes(b"no table")
    with pytest.raises(StorageError, match="windows"):
        read_rows_of(open_store(str(output)), "windows", None, video=URIS[7], **RUN)
