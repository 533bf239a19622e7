"""Labels of editors on their way into the output."""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape

from hookline.show import short_name, titled
from tasks.adapters.storage import Store
from tasks.adapters.storage.published import read_columns, read_table
from tasks.core.errors import SettingsError
from tasks.core.manifest import Manifest
from tasks.core.tables.labels import (
    Label,
    Labelled,
    Spans,
    as_stored,
    checked_labels,
    labels_table,
    matched,
    under_current_names,
)
from tasks.core.tables.library import LibraryEntry, read_library
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.renames import etags
from tasks.core.tables.schemas import SCHEMA_VERSION
from tasks.core.views.clock import clock

SPAN = ["video_uri", "start", "end"]

SEPARATORS = ",;\t"
"""What spreadsheets put between the values of a row: `;` where numbers have a comma."""

MAX_UNMATCHED = 50
"""Labels without a window that are printed."""

UNMATCHED = {
    "no_window": "no window shows at least half of both together",
    "other_version": "this is not the version of the video that was scored",
    "no_video": "no run has ranked this video",
}


def import_labels(store: Store, file: Path, newest: Manifest) -> tuple[list[Labelled], str]:
    """Check the labels in a file, match them with what was scored, and keep them; returns them and where.

    `newest` is the manifest of the newest complete run.

    Raises:
        SettingsError: the file cannot be read, or a row of it is wrong. Nothing is kept then.
        StorageError: the output cannot be read or written.
    """
    labels = checked_labels(read_rows(file), name=file.name)
    if not labels:
        raise SettingsError(f"{file.name} has no labels: fill in the column verdict (published or rejected)")
    entries = read_library(read_table(store, "library", newest))
    labels = as_stored(labels, entries, name=file.name)
    rankings = read_table(store, "rankings", newest, [*SPAN, "video_etag"])
    labels = list(under_current_names(labels, entries, etags(rankings)))
    ranked = spans([rankings], labels)
    windows = spans(scored_windows(store, labels, entries), labels)
    found = list(matched(labels, entries, ranked=ranked, windows=windows))
    return found, keep(store, found)


def read_rows(file: Path) -> Iterable[dict[str, Any]]:
    """The rows of a CSV or Parquet file.

    Raises:
        SettingsError: it is neither.
    """
    if not file.is_file():
        raise SettingsError(f"{file}: there is no such file")
    try:
        if file.suffix.lower() == ".parquet":
            rows: list[dict[str, Any]] = pq.ParquetFile(file).read(use_threads=False).to_pylist()
            return rows
        with file.open(encoding="utf-8-sig", newline="") as lines:  # spreadsheets begin with a mark
            header = lines.readline()
            lines.seek(0)
            return list(csv.DictReader(lines, restval="", delimiter=max(SEPARATORS, key=header.count)))
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise SettingsError(f"{file}: write CSV in UTF-8, or Parquet ({error})") from error


def scored_windows(
    store: Store, labels: Iterable[Label], entries: dict[str, LibraryEntry]
) -> Iterator[pa.Table]:
    """The windows of the runs that scored the labelled videos."""
    videos = [entries[label.video_uri] for label in labels if label.video_uri in entries]
    runs = {(entry.scored_on, entry.scored_in) for entry in videos if entry.scored_in}
    with tempfile.TemporaryDirectory() as scratch:
        for run_date, run_id in sorted(runs):
            yield read_columns(
                store, "windows", SPAN, run_date=run_date, run_id=str(run_id), scratch=Path(scratch)
            )


def spans(tables: Iterable[pa.Table], labels: Iterable[Label]) -> Spans:
    """Start and end of the rows of labelled videos."""
    wanted = pa.array({label.video_uri for label in labels}, pa.string())
    found: dict[str, list[tuple[float, float]]] = {}
    for table in tables:
        rows = table.filter(pc.is_in(table["video_uri"], wanted))
        for uri, start, end in zip(*(rows[name].to_pylist() for name in SPAN), strict=True):
            found.setdefault(uri, []).append((start, end))
    return found


def keep(store: Store, labelled: list[Labelled]) -> str:
    """Write labels beside those of earlier imports; none is ever overwritten."""
    imported_at = datetime.now(UTC)
    table = labels_table(labelled, imported_at=imported_at)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, "labels.parquet")
        metadata = {"hookline.schema_version": SCHEMA_VERSION}
        pq.write_table(table.replace_schema_metadata(metadata), local, **write_options(table))
        digest = hashlib.sha256(local.read_bytes()).hexdigest()[:6]
        return store.publish(local, f"labels/{imported_at:%Y%m%dT%H%M%SZ}-{digest}.parquet")


def print_labels(console: Console, labelled: list[Labelled], uri: str, source: str) -> None:
    """Print how many labels were matched, and which were not."""
    lost = [item for item in labelled if item.match in UNMATCHED]
    if lost:
        table = titled("Labels without a window", first_column="video")
        for name in ("from", "to", "why"):
            table.add_column(name)
        for item in lost[:MAX_UNMATCHED]:
            label = item.label
            name = short_name(label.video_uri, source)
            nearest = item.nearest and f": the nearest is {clock(item.nearest[0])}-{clock(item.nearest[1])}"
            why = UNMATCHED[item.match] + (nearest or "")
            table.add_row(name, clock(label.start), clock(label.end), why)
        console.print(table)
        if len(lost) > MAX_UNMATCHED:
            console.print(f"... and {len(lost) - MAX_UNMATCHED:,} more\n")
    counts = Counter(item.match for item in labelled)
    verdicts = Counter(item.label.verdict for item in labelled)
    overlap = f"{counts['overlap']} of windows that they overlap, " if counts["overlap"] else ""
    console.print(
        f"{len(labelled)} labels ({verdicts['published']} published, {verdicts['rejected']} rejected): "
        f"{counts['ranked']} of ranked segments, {counts['window']} of other windows, "
        f"{overlap}{len(lost)} of neither"
    )
    console.print(f"Kept in {escape(uri)}", soft_wrap=True)
