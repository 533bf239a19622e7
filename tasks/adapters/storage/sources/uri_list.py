"""A list of videos as a source: a text, CSV or Parquet file that names them, in a folder or in S3."""

from __future__ import annotations

import codecs
import csv
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import StringIO
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.storage import open_store
from tasks.adapters.storage.store import Store
from tasks.core.errors import SettingsError, StorageError
from tasks.core.listing import LeftOut, Listing, is_own
from tasks.core.names import forms, legible
from tasks.core.records import Failure, FailureKind, Stage, VideoRef
from tasks.core.records.listed import ListedVideos
from tasks.core.secrets import redacted
from tasks.core.uris import split_uri

ENDINGS = (".txt", ".csv", ".tsv", ".parquet")
COLUMN = "uri"
DELIMITERS = ",;\t"

LOOK_UP_THREADS = 16
"""Videos that are looked up at once."""

LOOKED_UP_AT_ONCE = 10_000
"""Names that are given to these threads at once, with 2 KB each."""


def is_uri_list(source: Store) -> bool:
    """Whether a source is one file, and by its ending a list of videos.

    Raises:
        StorageError: it cannot be looked at.
    """
    return source.uri.lower().endswith(ENDINGS) and source.is_file()


def videos_of_list(
    source: Store, *, folder: str = "", limit: int = 0, output: str = "", first: int | None = None
) -> Listing:
    """The videos that a list names, by URI; what cannot be used is refused, each for its own reason.

    Names that are not whole count from `folder`; empty = the list's own.
    What this run's `output` holds of Hookline's own is left out; at most `limit` videos are taken, 0 = all.
    Only the `first` so many entries are looked at.

    Raises:
        SettingsError: the file is no list, or names nothing.
        StorageError: it cannot be read.
    """
    folder = folder or source.uri.rpartition("/")[0]
    entries = list(dict.fromkeys(_entries(source.content(), source.uri)))[:first]
    own, refused = set[str](), list[Failure]()

    def found() -> Iterator[VideoRef]:
        for video in looked_up(entries, refused, folder=folder, source=source.uri):
            if is_own(video.uri, output):
                own.add(video.uri)
            else:
                yield video

    listed = ListedVideos.of(found())
    return Listing(listed[: limit or None], LeftOut(own=len(own)), refused)


def looked_up(
    entries: Sequence[str], refused: list[Failure], *, folder: str, source: str
) -> Iterator[VideoRef]:
    """The videos that entries name; why there is none is added to `refused`.

    They are looked up some at a time: a pool keeps all that it was given.
    """
    look_up = partial(_look_up, folder=folder, source=source)
    with ThreadPoolExecutor(LOOK_UP_THREADS, "look-up") as pool:
        for start in range(0, len(entries), LOOKED_UP_AT_ONCE):
            for each in pool.map(look_up, entries[start : start + LOOKED_UP_AT_ONCE]):
                if isinstance(each, Failure):
                    refused.append(each)
                else:
                    yield each


def _look_up(entry: str, *, folder: str, source: str) -> VideoRef | Failure:
    """The video that an entry names, in the form in which it is stored; or why there is none."""
    try:
        if not entry:
            raise SettingsError(f"A row of {source} has no {COLUMN}: write one, or leave the row out.")
        uri = _whole_uri(entry, folder)
        return _stored(uri)
    except SettingsError as error:
        video = VideoRef(redacted(entry) or source, "", 0)
        return Failure(video, Stage.FETCH, FailureKind.REJECTED, "invalid", redacted(str(error)))
    except StorageError as error:
        return Failure.from_error(VideoRef(uri, "", 0), Stage.FETCH, error)


def _stored(uri: str) -> VideoRef:
    """The file that a URI names: as it is, else composed or decomposed, else with its %-escapes undone."""
    try:
        return open_store(uri).file()
    except StorageError as error:
        for form in [*forms(uri)[1:], *forms(unquote(uri))] if error.reason == "not_found" else ():
            if form != uri and (store := open_store(form)).is_file():
                return store.file()
        raise


def _whole_uri(entry: str, folder: str) -> str:
    """An entry as a URI: what has neither scheme nor root counts from the list's folder.

    Raises SettingsError for what is no place for a file.
    """
    if "://" not in entry and not entry.startswith("/"):
        scheme, _, path = folder.partition("://")
        entry = f"{scheme}://{posixpath.normpath(f'{path}/{entry}')}"
        if scheme == "s3" and not entry.startswith(f"s3://{path.partition('/')[0]}/"):
            raise SettingsError(f"{entry!r} leads out of the bucket: write the whole URI, s3://bucket/key.")
    split_uri(entry)
    return entry


def _entries(content: bytes, uri: str) -> list[str]:
    """What a list names, line by line or row by row; an empty text where a row has no URI."""
    try:
        if uri.lower().endswith(".parquet"):
            found = _of_parquet(content, uri)
        else:
            text = _text(content, uri)
            found = _of_lines(text.split("\n")) if uri.lower().endswith(".txt") else _of_csv(text, uri)
    except (ValueError, csv.Error, pa.ArrowException) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{uri}: write text or CSV in UTF-8, or Parquet ({error}).") from error
    if not any(found):
        raise SettingsError(f"{uri} names no video: write one a line, or in a column {COLUMN}.")
    return found


def _text(content: bytes, uri: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise SettingsError(f"{uri} is no text: write a list of videos in UTF-8.")
    # Names of files may be no text; those that are meant otherwise are not found.
    return content.decode("utf-8-sig", "surrogateescape")


def _of_lines(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _of_csv(text: str, uri: str) -> list[str]:
    """The column `uri`; without a line of names, the only column there is."""
    for delimiter in DELIMITERS:
        columns, *rows = list(csv.reader(StringIO(text, newline=""), delimiter=delimiter)) or [[]]
        names = [name.strip().lower() for name in columns]
        if COLUMN in names:
            at = names.index(COLUMN)
            return [row[at].strip() if at < len(row) else "" for row in rows if row]
    every = list(csv.reader(StringIO(text, newline="")))
    if max(map(len, every), default=0) > 1:
        first = legible(text.partition("\n")[0].strip())
        raise SettingsError(f"{uri} has no column {COLUMN}: its first line is {first[:200]!r}.")
    return _of_lines(row[0] for row in every if row)


def _of_parquet(content: bytes, uri: str) -> list[str]:
    file = pq.ParquetFile(pa.BufferReader(content))
    names = {name.strip().lower(): name for name in file.schema_arrow.names}
    if COLUMN not in names:
        raise SettingsError(f"{uri} has no column {COLUMN}: its columns are {', '.join(names.values())}.")
    values: list[Any] = file.read([names[COLUMN]], use_threads=False)[0].to_pylist()
    if wrong := next((value for value in values if not isinstance(value, str | None)), None):
        raise SettingsError(f"{uri}: the column {COLUMN} has {wrong!r}: write URIs as text.")
    return [(value or "").strip() for value in values]
