"""The moments of the library that look like one, by what VideoMAE saw in them when they were scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from hookline.show import short_name, titled
from hookline.videos import video_called
from tasks.adapters.storage import Store
from tasks.adapters.storage.nights import windows_of_run
from tasks.adapters.storage.published import read_in_parts, read_rows_of
from tasks.core.errors import SettingsError, StorageError
from tasks.core.manifest import Manifest
from tasks.core.tables.library import LibraryEntry, of_listed
from tasks.core.tables.nearest import NEEDED, Nearest, NearMoment
from tasks.core.views.clock import clock, seconds_from

ScoredBy = tuple[str, str]
"""Day and id of the run that has the windows of a video."""


@dataclass(frozen=True, slots=True)
class Found:
    """The window that was asked for, and the moments nearest to it; `gone` are runs whose windows are."""

    window: NearMoment
    nearest: Sequence[NearMoment]
    gone: Sequence[str]


def similar_to(store: Store, run: Manifest, part: str, at: str, *, count: int) -> Found:
    """The moments of a run's videos that are nearest to what is at a time of one of them.

    Windows are read a row group at a time; of the library only the URIs of its videos are kept in memory.

    Raises:
        SettingsError: there is no such video, or several; or it is not as long.
        StorageError: no embeddings of it are stored, or a table cannot be read.
    """
    nearest = Nearest(window_at(store, video_called(store, run, part), at), count=count)
    gone = []
    for (run_date, run_id), uris in scored_by(store, run).items():
        try:
            for windows in windows_of_run(store, NEEDED, run_date=run_date, run_id=run_id):
                here = pc.is_in(windows["video_uri"], uris)
                nearest.add(windows if pc.all(here).as_py() else windows.filter(here))
        except StorageError as error:
            if error.reason != "not_found":
                raise
            gone.append(run_id)
    return Found(nearest.window, nearest.found, gone)


def window_at(store: Store, video: LibraryEntry, at: str) -> pa.Table:
    """The row of the window whose middle is nearest to this time of a video."""
    at_s, name = seconds_from(at), video.video.name
    duration_s = video.timeline.duration_s if video.timeline else 0.0
    if not at_s < duration_s:
        raise SettingsError(f"--at {at}: {name} is {clock(duration_s)} long")
    about = {"run_date": str(video.scored_on), "run_id": str(video.scored_in)}
    try:
        rows = read_rows_of(store, "windows", list(NEEDED), video=video.video.label, **about)
    except StorageError as error:
        if error.reason != "not_found":
            raise
        rows = pa.table({"start": [], "end": []})
    middles = zip(rows["start"].to_pylist(), rows["end"].to_pylist(), strict=True)
    order = [(abs((start + end) / 2 - at_s), start, row) for row, (start, end) in enumerate(middles)]
    if not order:
        raise StorageError.not_found(
            f"No embeddings of {name} are stored: the windows of run {video.scored_in}, which scored it, are "
            f"gone. Rank it again: hookline rank SOURCE {store.uri} --select.rescore"
        )
    return rows.slice(min(order)[-1], 1)


def scored_by(store: Store, run: Manifest) -> Mapping[ScoredBy, pa.ChunkedArray]:
    """The URIs of the videos that a run listed and ranked, by the run that has their windows."""
    uris: dict[ScoredBy, list[pa.Array]] = {}
    columns = ["video_uri", "scored_in", "scored_on"]
    for table in read_in_parts(store, "library", run, columns, optional=["listed"]):
        table = of_listed(table.filter(pc.is_valid(table["scored_in"])))
        runs = zip(table["scored_on"].to_pylist(), table["scored_in"].to_pylist(), strict=True)
        for run_date, run_id in set(runs):
            of_run = table["video_uri"].filter(pc.equal(table["scored_in"], run_id))
            uris.setdefault((str(run_date), run_id), []).extend(of_run.chunks)
    return {key: pa.chunked_array(uris[key], pa.string()) for key in sorted(uris)}


def print_similar(console: Console, found: Found, source: str) -> None:
    """Print the moments, the nearest first."""
    asked = found.window
    table = titled(
        f"Like {short_name(asked.video_uri, source)} {clock(asked.start)} - {clock(asked.end)}",
        first_column="video",
    )
    for name in ("from", "to", "cosine", "fast"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.nearest:
        times = (clock(each.start), clock(each.end))
        name = short_name(each.video_uri, source)
        table.add_row(name, *times, f"{each.similarity:.3f}", str(each.videomae_score))
    console.print(table)
    for line in _notes(found):
        console.print(line, soft_wrap=True)


def _notes(found: Found) -> Iterator[str]:
    if not found.nearest:
        yield "There is no other moment."
    if found.gone:
        yield f"Not searched, because their windows are gone: the videos scored in {', '.join(found.gone)}"
