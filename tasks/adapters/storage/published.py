"""Reading back what runs have published: the newest manifest, and tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from tasks.adapters.storage.store import Store
from tasks.core.errors import SettingsError, StorageError, first_error
from tasks.core.manifest import Manifest
from tasks.core.tables.labels import newest
from tasks.core.tables.schemas import CURVES, LABELS, table_name, upgraded

MANIFEST_NAME = re.compile(r"runs/[A-Za-z0-9-]+\.json")

DAY = re.compile(r"^([0-9]{4})-([0-9]{2})(?:-([0-9]{2}))?")

BEGINS_AS_RUN_ID = re.compile(r"[0-9]{4,8}|[0-9]{8}T[0-9]{0,6}|[0-9]{8}T[0-9]{6}Z(-.*)?")

CURVES_KEY = ("video_uri", "video_etag", "start", "end", "kind")


def newest_manifest(store: Store) -> Manifest:
    """The manifest of the newest complete run.

    Raises:
        StorageError: there is none, or what is there was not written by Hookline.
    """
    try:
        name = json.loads(store.read_bytes("latest.json"))["manifest"]
        if not MANIFEST_NAME.fullmatch(name):
            raise ValueError("its manifest is none of runs/")
        return _manifest(store, name)
    except StorageError as error:
        if error.reason != "not_found":
            raise
        raise _no_ranking(store) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError.invalid(
            f"{store.uri}/latest.json does not name a run ({error}): rank again to replace it."
        ) from error


def manifest_of(store: Store, run: str) -> Manifest:
    """The manifest of a complete run by its id, or by as much of its beginning as no other run has.

    A day may be written as 2026-11-24.

    Raises:
        StorageError: there is no such run, or several.
    """
    runs, begins = run_ids(store), DAY.sub(r"\1\2\3", run)
    found = [run_id for run_id in runs if run_id == run] or [name for name in runs if name.startswith(begins)]
    if not runs:
        raise _no_ranking(store)
    if len(found) != 1:
        how_many = f"is no run {run!r}" if not found else f"are {len(found)} runs {run!r}"
        raise StorageError.not_found(
            f"There {how_many} under {store.uri}: write an id in full, of which the newest are "
            f"{', '.join(runs[-3:])}."
        )
    return _manifest(store, f"runs/{found[0]}.json")


def manifest_called(store: Store, run: str) -> Manifest:
    """That of a run as `manifest_of` finds it, or of the newest complete one if none is named."""
    return manifest_of(store, run) if run else newest_manifest(store)


def manifest_before(store: Store, run_id: str) -> Manifest:
    """The manifest of the newest run before this one that did not fail.

    Raises:
        StorageError: there is none.
    """
    for earlier in reversed([name for name in run_ids(store) if name < run_id]):
        manifest = _manifest(store, f"runs/{earlier}.json")
        if manifest.state != "Failed":
            return manifest
    raise StorageError.not_found(
        f"There is no run before {run_id} under {store.uri}: there is something to compare after the next."
    )


def manifests(store: Store, *, since: str = "", newest: int = 0) -> list[Manifest]:
    """The manifests of all complete runs, the oldest first; with `since`, those whose ids are not before it.

    With `newest`, so many at the most.

    Raises:
        SettingsError: `since` is neither a day nor how an id begins.
        StorageError: one cannot be read.
    """
    first = _beginning_of_id(since) if since else ""
    runs = [run_id for run_id in run_ids(store) if run_id >= first]
    return [_manifest(store, f"runs/{run_id}.json") for run_id in runs[-newest:]]


def _beginning_of_id(since: str) -> str:
    """A day as ids have it: a hyphen sorts before all digits, so 2026-11-24 would come before all of 2026."""
    found = DAY.sub(r"\1\2\3", since)
    if not BEGINS_AS_RUN_ID.fullmatch(found):
        raise SettingsError(
            f"since {since!r} is neither a day nor how the id of a run begins: write 20261124, 2026-11-24 or "
            "20261124T0312"
        )
    return found


def run_ids(store: Store) -> list[str]:
    """All complete runs, the oldest first: their ids begin with the time they started."""
    names = (name.removeprefix("runs/") for name in store.names("runs"))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def _no_ranking(store: Store) -> StorageError:
    return StorageError.not_found(
        f"There is no ranking under {store.uri} yet: run `hookline rank SOURCE {store.uri}` first."
    )


def _manifest(store: Store, name: str) -> Manifest:
    try:
        return Manifest.model_validate_json(store.read_bytes(name))
    except ValidationError as error:
        raise StorageError.invalid(
            f"{store.uri}/{name} is no manifest of a run ({first_error(error)}). Rank again to replace it."
        ) from error


def read_table(
    store: Store,
    table: str,
    run: Manifest,
    columns: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
) -> pa.Table:
    """A table of a run, or some columns of it; `struct.field` names one field of a struct.

    `optional` columns are read too, where the version that wrote the table had them.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    name = table_name(table, run_date=run.run_date, run_id=run.run_id)
    content, uri = pa.BufferReader(store.read_bytes(name)), f"{store.uri}/{name}"
    return _parquet(content, columns, uri, optional=optional)


def read_in_parts(
    store: Store,
    table: str,
    run: Manifest,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
) -> Iterator[pa.Table]:
    """As `read_table`, a row group at a time: for tables that may be larger than memory.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    name = table_name(table, run_date=run.run_date, run_id=run.run_id)
    return row_groups(store, name, columns, optional=optional)


def row_groups(
    store: Store, name: str, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Some columns of a table, a row group at a time; a table without rows has one.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    uri = f"{store.uri}/{name}"
    with store.opened(uri) as stream, explaining(uri):
        parquet = pq.ParquetFile(stream, pre_buffer=True)
        wanted = _columns(parquet, columns, optional)
        if not parquet.num_row_groups:
            yield parquet.read_row_groups([], columns=wanted)
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group, columns=wanted, use_threads=False)


def row_group(store: Store, name: str, number: int, columns: Sequence[str]) -> pa.Table:
    """One of them.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    uri = f"{store.uri}/{name}"
    with store.opened(uri) as stream, explaining(uri):
        return pq.ParquetFile(stream).read_row_group(number, columns=list(columns), use_threads=False)


def read_columns(
    store: Store,
    table: str,
    columns: Sequence[str] | None,
    *,
    run_date: object,
    run_id: str,
    scratch: Path,
    optional: Sequence[str] = (),
) -> pa.Table:
    """Some columns, or all, of a table that may be larger than memory; it is copied into `scratch` meanwhile.

    `optional` ones as in `read_table`.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    name, local = table_name(table, run_date=run_date, run_id=run_id), scratch / f"stored-{table}.parquet"
    try:
        store.fetch(name, local)
        return _parquet(local, columns, f"{store.uri}/{name}", optional=optional)
    finally:
        local.unlink(missing_ok=True)


def read_rows_of(
    store: Store, table: str, columns: Sequence[str] | None, *, video: str, run_date: object, run_id: str
) -> pa.Table:
    """The rows of one video in a table that is sorted by video; little else of the file is read.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    name = table_name(table, run_date=run_date, run_id=run_id)
    with store.opened(f"{store.uri}/{name}") as stream:
        parquet = pq.ParquetFile(stream)
        leaf = parquet.schema_arrow.names.index("video_uri")  # no column before it is nested
        groups = [
            group
            for group in range(parquet.num_row_groups)
            if _may_have(video, parquet.metadata.row_group(group).column(leaf).statistics)
        ]
        rows = parquet.read_row_groups(groups, columns=columns, use_threads=False)
        return rows.filter(pc.equal(rows["video_uri"], video))


def _may_have(value: str, statistics: Any) -> bool:
    if not (statistics and statistics.has_min_max):
        return True
    return bool(statistics.min <= value <= statistics.max)


def _parquet(
    file: Path | pa.BufferReader, columns: Sequence[str] | None, uri: str, *, optional: Sequence[str] = ()
) -> pa.Table:
    with explaining(uri):
        parquet = pq.ParquetFile(file)
        # pq.read_table starts threads that now and then abort the process as it exits (pyarrow 26).
        return parquet.read(columns=_columns(parquet, columns, optional), use_threads=False)


def _columns(
    parquet: pq.ParquetFile, columns: Sequence[str] | None, optional: Sequence[str]
) -> list[str] | None:
    """The columns to read; None for all. Raises KeyError where one is missing that is not optional."""
    names = parquet.schema_arrow.names
    if missing := {name.split(".")[0] for name in columns or ()} - set(names):
        raise KeyError(f"no column {', '.join(sorted(missing))}")
    return None if columns is None else [*columns, *(name for name in optional if name in names)]


@contextmanager
def explaining(uri: str) -> Iterator[None]:
    """What Parquet cannot read becomes a StorageError; errors of disk and network stay what they are."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise StorageError.invalid(
            f"{uri} is not a table that can be read ({error}). Rank again to replace it."
        ) from error


def read_labels(store: Store) -> pa.Table:
    """What editors decided, of all imports: the newest label of each segment.

    Raises:
        StorageError: one cannot be read.
    """
    return newest(_imports(store, "labels", LABELS))


def read_curves(store: Store) -> pa.Table:
    """What curves say of windows, of all imports: the newest value of each kind.

    Raises:
        StorageError: one cannot be read.
    """
    return newest(_imports(store, "curves", CURVES), CURVES_KEY)


def _imports(store: Store, folder: str, schema: pa.Schema) -> pa.Table:
    tables = [schema.empty_table()]
    for name in sorted(name for name in store.names(folder) if name.endswith(".parquet")):
        content = pa.BufferReader(store.read_bytes(name))
        tables.append(upgraded(_parquet(content, None, f"{store.uri}/{name}"), schema))
    return pa.concat_tables(tables)
