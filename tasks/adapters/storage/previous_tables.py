"""The large tables of an earlier run, copied to scratch and checked: whoever reads on can rely on them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.adapters.storage.parquet_files import ParquetRows, write_tables
from tasks.adapters.storage.published import explaining
from tasks.adapters.storage.store import Store
from tasks.core.manifest import Manifest
from tasks.core.tables.library import by_video, check_library
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.run_ranking import BEST_FIRST, EXAMINED, ranked_videos
from tasks.core.tables.schemas import LIBRARY, RANKINGS, table_name, upgraded
from tasks.core.tables.sorted_rows import in_order, regrouped


def fetch_library(store: Store, run: Manifest, scratch: Path) -> ParquetRows:
    """The library of a run, by URI, each of which is there once: the last row of it counts.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    rows, uri = _fetch(store, "library", run, scratch)
    last = ""
    with explaining(uri):
        for table in filter(len, rows()):
            library = upgraded(table, LIBRARY)
            check_library(library)
            uris = library["video_uri"]
            if not (last < uris[0].as_py() and pc.all(pc.less(uris[:-1], uris[1:])).as_py()):
                whole = _whole(rows.path, LIBRARY)
                check_library(whole)
                _replace(rows.path, by_video(whole))
                break
            last = uris[-1].as_py()
    return rows


def fetch_rankings(store: Store, run: Manifest, scratch: Path) -> tuple[ParquetRows, pa.Array]:
    """The ranking of a run, best first, and the URIs of its videos, sorted.

    A file that is not as the run wrote it, or whose rows are in another order, is sorted in memory. Of a
    video whose best row somebody has taken out no row stays: it is ranked again from its scores.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    rows, uri = _fetch(store, "rankings", run, scratch)
    with explaining(uri):
        upgraded(pq.read_schema(rows.path).empty_table(), RANKINGS)
        ranked = ranked_videos(rows(EXAMINED)) if _is_as_written(rows.path, uri, run) else None
        if ranked is None:
            table = _whole(rows.path, RANKINGS)
            whole = table["video_uri"].filter(pc.equal(table["rank"], 1)).unique()
            table = table.filter(pc.is_in(table["video_uri"], whole))
            _replace(rows.path, in_order(table, BEST_FIRST))
            ranked = ranked_videos(rows(EXAMINED))
            assert ranked is not None
    return rows, ranked


def _fetch(store: Store, table: str, run: Manifest, scratch: Path) -> tuple[ParquetRows, str]:
    name = table_name(table, run_date=run.run_date, run_id=run.run_id)
    path = scratch / f"previous-{table}.parquet"
    store.fetch(name, path)
    return ParquetRows(path), f"{store.uri}/{name}"


def _is_as_written(path: Path, uri: str, run: Manifest) -> bool:
    """Whether these are the bytes that the run has written, by its manifest."""
    name = "/".join(uri.rsplit("/", 3)[1:])  # the output may have been moved
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    written = [entry.get("sha256") for entry in run.files if str(entry.get("uri")).endswith(f"/{name}")]
    return digest in written


def _whole(path: Path, schema: pa.Schema) -> pa.Table:
    return upgraded(pq.ParquetFile(path).read(use_threads=False), schema)


def _replace(path: Path, table: pa.Table) -> None:
    other = path.with_suffix(".sorted")
    write_tables(other, regrouped([table], ROW_GROUP_ROWS), table.schema, rows=len(table))
    other.replace(path)
