"""S3 Inventory: what a bucket holds, as its store has written it down, once a day or a week.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from pydantic import BaseModel, ValidationError

from tasks.adapters.storage import Store, open_store
from tasks.core.errors import SettingsError, StorageError, first_error
from tasks.core.listing import Inventory
from tasks.core.records import VideoRef

ROWS = 32_768
"""Rows of a file that are in memory at once."""

NEEDED = {"key": "Key", "size": "Size", "etag": "ETag"}
WANTED = (*NEEDED, "lastmodifieddate", "islatest", "isdeletemarker")
"""Columns, as they are called in all formats but for case and `_`."""

_DATED = re.compile(r"(?:.*/)?(\d{4}-\d\d-\d\dT\d\d-\d\dZ)/manifest\.json", re.DOTALL)


class _File(BaseModel):
    key: str
    size: int


class _Manifest(BaseModel):
    """What a `manifest.json` says."""

    sourceBucket: str
    creationTimestamp: int
    fileFormat: str
    fileSchema: str
    files: list[_File]


def find_manifest(uri: str) -> Store:
    """The manifest itself, or the newest one in a folder of them, which a store fills from day to day.

    Raises:
        SettingsError: there is none.
        StorageError: it cannot be looked at.
    """
    store = open_store(uri)
    if store.scheme != "s3://":
        raise SettingsError(
            f"select.listing is {uri!r}: name a list by its ending, or an inventory where its store wrote it "
            "(s3://)."
        )
    if uri.endswith(".json"):
        return store
    dated = {found[1]: name for name in store.names() if (found := _DATED.fullmatch(name))}
    if not dated:
        raise SettingsError(
            f"select.listing is {uri!r}, and there is no inventory (YYYY-MM-DDTHH-MMZ/manifest.json): name "
            "the folder in which its store puts one for each day, or a manifest.json."
        )
    return open_store(f"{store.uri}/{dated[max(dated)]}")


def read_inventory(manifest: Store, source: Store) -> tuple[Inventory, Iterator[VideoRef]]:
    """What an inventory says of itself, and the objects of the source in it: in no order, some at a time.

    Of a bucket with versions, those are taken that were current. The ETag of an object is empty where the
    inventory has none of it.

    Raises:
        SettingsError: it is of another bucket, or lacks what is needed; that of a single file comes with
            the first of its objects.
        StorageError: it cannot be read.
    """
    try:
        said = _Manifest.model_validate_json(manifest.content())
    except ValidationError as error:
        raise SettingsError(
            f"{manifest.uri} is no manifest of an S3 Inventory ({first_error(error)}): name the "
            "manifest.json that the store has written."
        ) from error
    bucket = source.uri.removeprefix("s3://").partition("/")[0]
    if source.scheme != "s3://" or said.sourceBucket != bucket:
        raise SettingsError(
            f"The inventory {manifest.uri} is of the bucket {said.sourceBucket!r}, and the source is "
            f"{source.uri}: name an inventory of that bucket, or select.listing live."
        )
    if said.fileFormat not in _READERS:
        raise SettingsError(
            f"{manifest.uri} is in {said.fileFormat!r}: have the store write {', '.join(_READERS)}."
        )
    try:
        written_at = datetime.fromtimestamp(said.creationTimestamp / 1000, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise SettingsError(
            f"{manifest.uri} is of no day: its creationTimestamp is {said.creationTimestamp}, and not the "
            "milliseconds since 1970."
        ) from error
    return Inventory(uri=manifest.uri, written_at=written_at), _objects(said, manifest, source)


def _objects(said: _Manifest, manifest: Store, source: Store) -> Iterator[VideoRef]:
    where = f"s3://{manifest.uri.removeprefix('s3://').partition('/')[0]}"
    for file in said.files:
        store = open_store(f"{where}/{file.key}")
        _check_there(store, file, manifest)
        with store.opened(store.uri) as stream:
            try:
                for rows in _READERS[said.fileFormat](stream, said.fileSchema):
                    yield from _current(_known_columns(rows, manifest.uri), said, source.uri, manifest.uri)
            except (pa.ArrowException, OSError) as error:
                # What cannot be decoded is an OSError too, but one without a number.
                if isinstance(error, OSError) and (type(error) is not OSError or error.errno):
                    raise
                raise SettingsError(
                    f"{store.uri} is no {said.fileFormat} of an inventory ({error}): name the manifest of "
                    "another day."
                ) from error


def _check_there(store: Store, file: _File, manifest: Store) -> None:
    """Raises SettingsError where a file is not the one that the manifest names."""
    try:
        size = store.file().size_bytes
    except StorageError as error:
        if error.reason != "not_found":
            raise
        found = "which is not there"
    else:
        if size == file.size:
            return
        found = f"which has {size:,} bytes instead of {file.size:,}"
    raise SettingsError(
        f"The inventory {manifest.uri} names {store.uri}, {found}: name the manifest of another day, and "
        "keep the files of an inventory as long as its manifest."
    )


def _current(
    columns: Mapping[str, list[Any]], said: _Manifest, source: str, manifest: str
) -> Iterator[VideoRef]:
    """The objects of the source among some rows.

    Raises SettingsError where a row says of no object.
    """
    encoded, top = said.fileFormat == "CSV", f"s3://{said.sourceBucket}/"
    inside = f"{source}/"
    rows = zip(*(columns[name] for name in WANTED), strict=True)
    for key, size, etag, modified, latest, marker in rows:
        if not key:
            raise SettingsError(f"The inventory {manifest} has a row without a Key: name another.")
        uri = top + (unquote_plus(key) if encoded else key)
        if not (uri.startswith(inside) or uri == source) or _is(latest, False) or _is(marker, True):
            continue
        yield VideoRef(uri, (etag or "").strip('"'), size or 0, modified)


def _is(value: object, wanted: bool) -> bool:
    return str(value).lower() == str(wanted).lower()


def _known_columns(table: pa.Table | pa.RecordBatch, uri: str) -> Mapping[str, list[Any]]:
    """The columns that are wanted; those that an inventory need not have are then null."""
    names = {name.lower().replace("_", ""): name for name in table.schema.names}
    if missing := [NEEDED[name] for name in NEEDED if name not in names]:
        raise SettingsError(
            f"The inventory {uri} has no {' and no '.join(missing)}, by which versions of a video are told "
            "apart: add it to the optional fields of the inventory."
        )
    nulls = pa.nulls(len(table))
    columns = {name: table[names[name]] if name in names else nulls for name in WANTED}
    kinds = {"key": pa.string(), "etag": pa.string(), "size": pa.int64()}
    columns |= {name: columns[name].cast(kind) for name, kind in kinds.items()}
    columns["lastmodifieddate"] = columns["lastmodifieddate"].cast(pa.timestamp("us", "UTC"), safe=False)
    return {name: column.to_pylist() for name, column in columns.items()}


def _csv(stream: BinaryIO, schema: str) -> Iterator[pa.RecordBatch]:
    names = [name.strip() for name in schema.split(",")]
    kinds: dict[str, pa.DataType] = dict.fromkeys(names, pa.string())
    kinds |= {"Size": pa.int64(), "LastModifiedDate": pa.timestamp("ms", "UTC")}
    options = csv.ConvertOptions(
        column_types={name: kinds[name] for name in names},
        include_columns=[name for name in names if name.lower() in WANTED],
    )
    with pa.CompressedInputStream(pa.PythonFile(stream, "r"), "gzip") as text:
        yield from csv.open_csv(
            text,
            read_options=csv.ReadOptions(column_names=names, use_threads=False),
            convert_options=options,
        )


def _parquet(stream: BinaryIO, schema: str) -> Iterator[pa.RecordBatch]:
    parquet = pq.ParquetFile(stream, pre_buffer=False)  # or all of it is read at once
    wanted = _wanted(parquet.schema_arrow.names)
    yield from parquet.iter_batches(batch_size=ROWS, columns=wanted, use_threads=False)


def _orc(stream: BinaryIO, schema: str) -> Iterator[pa.RecordBatch]:
    from pyarrow.orc import ORCFile

    orc = ORCFile(stream)
    for stripe in range(orc.nstripes):
        batch = orc.read_stripe(stripe, columns=_wanted(orc.schema.names))
        for start in range(0, len(batch), ROWS):
            yield batch.slice(start, ROWS)


def _wanted(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower().replace("_", "") in WANTED]


_READERS: Mapping[str, Callable[[BinaryIO, str], Iterator[pa.RecordBatch]]] = {
    "CSV": _csv,
    "Parquet": _parquet,
    "ORC": _orc,
}
