"""Labels of editors, and curves, on their way into the output."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape

from hookline.labelling.curves import Drawn, curves_table, over_windows
from hookline.labelling.files import format_of, read_file
from hookline.labelling.given import Videos
from hookline.show import short_name, titled
from tasks.adapters.storage import Store
from tasks.adapters.storage.published import read_columns, read_labels, read_table
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError
from tasks.core.manifest import Manifest
from tasks.core.tables.labels import (
    Labelled,
    Span,
    Spans,
    as_stored,
    checked_labels,
    labels_table,
    matched,
    under_current_names,
)
from tasks.core.tables.library import LibraryEntry, of_gone, of_listed, read_library
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.renames import etags
from tasks.core.tables.schemas import SCHEMA_VERSION
from tasks.core.views.clock import clock

SPAN = ["video_uri", "start", "end"]

MAX_UNMATCHED = 50
"""Labels and curves without a window that are printed."""

UNMATCHED = {
    "no_window": "no window shows at least half of both together",
    "other_version": "this is not the version of the video that was scored",
    "no_video": "no run has ranked this video, or several are called so",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What was in a file, what it was matched with, and where it is kept."""

    labelled: Sequence[Labelled]
    drawn: Sequence[Drawn]
    uris: Sequence[str]


def import_labels(store: Store, file: Path, newest: Manifest, *, kind: str = "auto") -> Imported:
    """Check the labels or curves in a file, match them with what was scored, and keep them.

    `newest` is the manifest of the newest complete run, `kind` the format of the file.

    Raises:
        SettingsError: the file cannot be read, or a row of it is wrong. Nothing is kept then.
        StorageError: the output cannot be read or written.
    """
    kind = format_of(file) if kind == "auto" else kind
    library = read_table(store, "library", newest)
    listed = of_listed(library)
    # Of a version under several names, the last one counts: one that is listed.
    entries = read_library(pa.concat_tables([of_gone(library), listed]))
    videos = Videos(entries, {*listed["video_uri"].to_pylist()})
    given = read_file(file, kind, videos)
    labels = checked_labels(given.rows, name=file.name)
    if not labels and not given.curves:
        raise SettingsError(f"{file.name} has no labels: fill in the column verdict (published or rejected)")
    labels = [label.model_copy(update={"video_uri": videos.uri(label.video_uri)}) for label in labels]
    labels = as_stored(labels, entries, name=file.name)
    rankings = read_table(store, "rankings", newest, [*SPAN, "video_etag"])
    labels = list(under_current_names(labels, entries, etags(rankings)))
    wanted = {*(label.video_uri for label in labels), *(curve.video for curve in given.curves)}
    windows = spans(scored_windows(store, wanted, entries), wanted)
    names = {entry.video.etag: uri for uri, entry in entries.items()}
    taken = exactly_labelled(read_labels(store), names)
    found = list(matched(labels, entries, ranked=spans([rankings], wanted), windows=windows, taken=taken))
    drawn = list(over_windows(given.curves, entries, windows))
    now = datetime.now(UTC)
    tables = {
        "labels": labels_table(found, imported_at=now),
        "curves": curves_table(drawn, kind=kind, imported_at=now),
    }
    uris = [keep(store, table, name, now) for name, table in tables.items() if len(table)]
    return Imported(found, drawn, uris)


def scored_windows(
    store: Store, videos: Collection[str], entries: dict[str, LibraryEntry]
) -> Iterator[pa.Table]:
    """The windows of the runs that scored these videos."""
    scored = [entries[video] for video in videos if video in entries]
    runs = {(entry.scored_on, entry.scored_in) for entry in scored if entry.scored_in}
    with tempfile.TemporaryDirectory() as scratch:
        for run_date, run_id in sorted(runs):
            yield read_columns(
                store, "windows", SPAN, run_date=run_date, run_id=str(run_id), scratch=Path(scratch)
            )


def exactly_labelled(labels: pa.Table, names: Mapping[str, str]) -> set[tuple[str, Span]]:
    """The segments that have a label of their own times; `names` has the URI of each video, by ETag."""
    exact = labels.filter(pc.is_null(labels["given_start"]))
    columns = (exact[name].to_pylist() for name in ("video_etag", "start", "end"))
    return {(names[etag], (start, end)) for etag, start, end in zip(*columns, strict=True) if etag in names}


def spans(tables: Iterable[pa.Table], videos: Collection[str]) -> Spans:
    """Start and end of the rows of these videos."""
    wanted = pa.array(videos, pa.string())
    found: dict[str, list[Span]] = {}
    for table in tables:
        rows = table.filter(pc.is_in(table["video_uri"], wanted))
        for uri, start, end in zip(*(rows[name].to_pylist() for name in SPAN), strict=True):
            found.setdefault(uri, []).append((start, end))
    return found


def keep(store: Store, table: pa.Table, folder: str, imported_at: datetime) -> str:
    """Write labels or curves beside those of earlier imports; none is ever overwritten."""
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, "imported.parquet")
        metadata = {"hookline.schema_version": SCHEMA_VERSION}
        pq.write_table(table.replace_schema_metadata(metadata), local, **write_options(table))
        digest = hashlib.sha256(local.read_bytes()).hexdigest()[:6]
        return store.publish(local, f"{folder}/{imported_at:%Y%m%dT%H%M%SZ}-{digest}.parquet")


def print_labels(console: Console, imported: Imported, source: str) -> None:
    """Print how many labels and curves were matched, and which were not."""
    lost = [
        *(
            (item.label.video_uri, (item.label.start, item.label.end), UNMATCHED[item.match], item.nearest)
            for item in imported.labelled
            if item.match in UNMATCHED
        ),
        *((each.video, None, each.why, each.nearest) for each in imported.drawn if each.why),
    ]
    if lost:
        table = titled("Labels without a window", first_column="video")
        for name in ("from", "to", "why"):
            table.add_column(name)
        for video, span, why, nearest in lost[:MAX_UNMATCHED]:
            near = nearest and f": the nearest is {clock(nearest[0])}-{clock(nearest[1])}"
            times = map(clock, span) if span else ("curve", "")
            table.add_row(short_name(video, source), *times, why + (near or ""))
        console.print(table)
        if len(lost) > MAX_UNMATCHED:
            console.print(f"... and {len(lost) - MAX_UNMATCHED:,} more\n")
    if imported.labelled:
        _print_counts(console, imported.labelled)
    if imported.drawn:
        known = [each for each in imported.drawn if not each.why]
        windows = sum(len(each.values) for each in known)
        curves = number_of(len(imported.drawn), "curve")
        console.print(f"{curves}: {len(known)} over {number_of(windows, 'window')}")
    for uri in imported.uris:
        console.print(f"Kept in {escape(uri)}", soft_wrap=True)


def _print_counts(console: Console, labelled: Sequence[Labelled]) -> None:
    counts = Counter(item.match for item in labelled)
    verdicts = Counter(item.label.verdict for item in labelled)
    overlap = f"{counts['overlap']} of windows that they overlap, " if counts["overlap"] else ""
    lost = sum(item.match in UNMATCHED for item in labelled)
    console.print(
        f"{number_of(len(labelled), 'label')} "
        f"({verdicts['published']} published, {verdicts['rejected']} rejected): "
        f"{counts['ranked']} of ranked segments, {counts['window']} of other windows, {overlap}"
        f"{lost} of neither"
    )
