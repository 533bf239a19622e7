"""The windows that editors have labelled, as the runs left them that scored them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from math import ceil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.adapters.storage.published import read_columns, read_labels, read_table
from tasks.adapters.storage.store import Store
from tasks.core.errors import StorageError
from tasks.core.learning.tuning import LabelledWindow
from tasks.core.manifest import Manifest
from tasks.core.records import ScoredWindow, Timeline, Window
from tasks.core.speech.cuts import Cut
from tasks.core.tables.library import LibraryEntry, of_gone, of_listed, read_library

SPAN = ("video_uri", "start", "end")
CUT = ("cut_start", "cut_end")

Spans = dict[tuple[str, float, float], dict[str, Any]]


def labelled_windows(store: Store, newest: Manifest) -> tuple[list[LabelledWindow], int]:
    """The windows with labels, of videos that the newest run knows in this version; and how many others are.

    Raises:
        StorageError: the output cannot be read.
    """
    library = read_table(store, "library", newest)
    # Of a version under several names, the last one counts: one that is listed.
    entries = read_library(pa.concat_tables([of_gone(library), of_listed(library)])).values()
    labels = read_labels(store).to_pylist()
    by_etag = {entry.video.etag: entry for entry in entries if entry.timeline}  # by its name now
    known = {
        (entry.video.uri, row["start"], row["end"]): (row, entry)
        for row in sorted(labels, key=lambda row: row["imported_at"])  # the newest counts
        if (entry := by_etag.get(row["video_etag"]))
    }
    windows = _windows(store, [entry for _, entry in known.values()])
    found = []
    for span, (row, entry) in known.items():
        if (there := windows.get(span)) and entry.timeline:
            item = _scored(there, entry.timeline)
            published = row["verdict"] == "published"
            found.append(LabelledWindow(entry.video, item, published, row["views"]))
    return found, len(labels) - len(found)


def _windows(store: Store, entries: Iterable[LibraryEntry]) -> Spans:
    """The windows of these videos. Those of a run whose windows were deleted are not there."""
    found: Spans = {}
    by_run: dict[tuple[object, str], set[str]] = {}
    for entry in entries:
        by_run.setdefault((entry.scored_on, str(entry.scored_in)), set()).add(entry.video.uri)
    with tempfile.TemporaryDirectory(prefix="hookline-") as scratch:
        for (run_date, run_id), uris in sorted(by_run.items(), key=str):
            about: dict[str, Any] = {"run_date": run_date, "run_id": run_id, "scratch": Path(scratch)}
            try:
                table = read_columns(store, "windows", SPAN, optional=CUT, **about)
            except StorageError as error:
                if error.reason != "not_found":
                    raise
                continue
            table = table.filter(pc.is_in(table["video_uri"], pa.array(sorted(uris), pa.string())))
            found |= {(row["video_uri"], row["start"], row["end"]): row for row in table.to_pylist()}
    return found


def _scored(row: dict[str, Any], timeline: Timeline) -> ScoredWindow:
    """A window as it was scored, with its cut."""
    # The last window ends with the video, not with the grid.
    end = timeline.n_ticks if row["end"] >= timeline.duration_s else ceil(row["end"] * timeline.fps)
    cut = None
    if row.get("cut_start") is not None:
        begin_ms, end_ms = (round(1000 * row[name]) for name in CUT)
        cut = Cut(begin_ms, end_ms, is_clean=True, speech_ratio=0.0)  # which of both is not asked here
    return ScoredWindow(Window(round(row["start"] * timeline.fps), end), 0, cut=cut)
