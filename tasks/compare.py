"""Compare the ranked segments with those of other videos, to find what is shown twice."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.adapters.models.checkpoints import embedding_size
from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.nights import row_group, row_groups, windows_of_run
from tasks.core.errors import StorageError
from tasks.core.records import RankedVideo
from tasks.core.tables.duplicates import Duplicates, with_sketches
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.nearest import embeddings_of
from tasks.core.tables.run_ranking import segment_keys
from tasks.core.tables.schemas import fingerprints_schema
from tasks.run.ledger import Ledger
from tasks.run.logs import log_event
from tasks.run.retries import retried
from tasks.run.run import Run

NAMED = ("video_uri", "video_etag", "start", "end")
Videos = Mapping[str, pa.Array]
"""The URIs of videos, sorted, by the run that ranked them."""


def compare(ledger: Ledger, run: Run) -> Duplicates | None:
    """Which of the segments that this run has ranked are duplicates; None if nobody looks.

    What earlier runs have found out stays: a night with nothing new compares nothing. Nor does a job of the
    service, which ranks one video and publishes elsewhere.

    Raises:
        StorageError: the output cannot be reached.
    """
    if run.spec.settings.ranking.duplicates == "keep" or run.spec.library or not ledger.ranked_now:
        return None
    return find_duplicates(ledger, run)


@retried("find duplicates")
def find_duplicates(ledger: Ledger, run: Run) -> Duplicates:
    """Compare what this run has ranked with the originals of earlier runs, and then with each other.

    In memory are the fingerprints of the new segments, the URIs of the library, and a row group.

    Raises:
        StorageError: the output cannot be reached.
    """
    found = Duplicates(new_segments(ledger, run), least=float(run.spec.settings.ranking.duplicate_from))
    previous = ledger.known.previous
    if previous and previous.gone is not None:
        rows = previous.rows([*NAMED, "duplicate_of", "duplicate_similarity"])
        found.compare_with_copies(_without(table, previous.gone) for table in rows)
        compare_with_originals(found, carried_videos(ledger, previous.gone), run)
    found.compare_new()
    if count := int(found.are_duplicates.sum()):
        log_event(run.spec.run_id, "compare", f"{count} ranked segments show what another video shows")
    return found


def compare_with_originals(found: Duplicates, videos: Videos, run: Run) -> None:
    """Compare with what earlier runs have ranked, as far as it is of these videos, and original."""
    store = run.spec.output
    names = {PurePosixPath(name).stem: name for name in store.names("fingerprints")}
    for run_id in sorted(videos):
        run.raise_if_stopped()
        try:
            if run_id not in names:
                raise StorageError.not_found(f"There are no fingerprints of run {run_id}.")
            compare_with_run(found, store, names[run_id], videos[run_id])
        except StorageError as error:
            if error.retryable:
                raise
            lost = f"{len(videos[run_id])} videos are not compared with those that are new. {error}"
            log_event(run.spec.run_id, "compare", lost, level=logging.WARNING)


def compare_with_run(found: Duplicates, store: Store, name: str, videos: pa.Array) -> None:
    """Compare with the originals among these videos in one table `fingerprints`."""
    columns = ["video_uri", "start", "end", "is_original", "sketch"]
    for number, rows in enumerate(row_groups(store, name, columns)):
        mask = pc.and_(rows["is_original"], are_among(rows["video_uri"], videos))
        found.compare_with(rows.filter(mask), partial(_fingerprints, store, name, number, mask))


def _fingerprints(store: Store, name: str, number: int, mask: pa.ChunkedArray) -> pa.Table:
    return row_group(store, name, number, ["fingerprint"]).filter(mask)


def are_among(uris: pa.ChunkedArray, videos: pa.Array) -> pa.ChunkedArray:
    """Which of some sorted URIs are among many, which are sorted too."""
    if not len(uris):
        return pc.is_in(uris, videos)
    low, high = (
        search(videos, uris[row].as_py(), key=lambda uri: str(uri.as_py()))
        for search, row in ((bisect_left, 0), (bisect_right, -1))
    )
    return pc.is_in(uris, videos[low:high])


def carried_videos(ledger: Ledger, gone: pa.Array) -> Videos:
    """The videos that keep their rows."""
    found: dict[str, list[pa.Array]] = {}
    for table in ledger.known.library(["video_uri", "status", "listed", "ranked_in"]):
        kept = _without(table.filter(pc.and_(table["listed"], pc.equal(table["status"], "ranked"))), gone)
        for run_id in pc.unique(kept["ranked_in"]).drop_null().to_pylist():
            of_run = kept["video_uri"].filter(pc.equal(kept["ranked_in"], run_id))
            found.setdefault(run_id, []).extend(of_run.chunks)
    return {run_id: pa.concat_arrays(uris) for run_id, uris in found.items()}


def new_segments(ledger: Ledger, run: Run) -> pa.Table:
    """What this run has ranked: of the videos that were written first, first, then by URI."""
    schema = fingerprints_schema(embedding_size(run.spec.fast))
    schema = pa.schema([schema.field(name) for name in (*NAMED, "sketch", "fingerprint")])
    segments = segments_of(sorted(ledger.ranked_now, key=_age))
    seen = [*map(seen_now, ledger.ranked), *seen_before(ledger, run)]
    found = pa.concat_tables(
        [schema.empty_table(), *(each.select(schema.names).cast(schema) for each in seen)]
    )
    places = pc.index_in(segment_keys(segments), value_set=segment_keys(found))
    return found.take(places.drop_null()).combine_chunks()


def segments_of(videos: Iterable[RankedVideo]) -> pa.Table:
    """The ranked segments of videos, the best of each first."""
    rows = [
        (
            ref.label,
            ref.etag,
            video.timeline.seconds(each.window.start),
            video.timeline.seconds(each.window.end),
        )
        for video in videos
        for ref in (video.timeline.video,)
        for each in video.segments
    ]
    columns = zip(*rows, strict=True) if rows else ((),) * len(NAMED)
    kinds = (pa.string(), pa.string(), pa.float64(), pa.float64())
    return pa.table(
        {name: pa.array(column, kind) for name, column, kind in zip(NAMED, columns, kinds, strict=True)}
    )


def seen_now(video: RankedVideo) -> pa.Table:
    """What VideoMAE saw in the segments of a video that this run has opened."""
    rows = {item.window: row for row, item in enumerate(video.scored.windows)}
    places = [rows[segment.window] for segment in video.segments]
    return with_sketches(segments_of([video]), video.scored.embeddings[places])


def seen_before(ledger: Ledger, run: Run) -> Iterator[pa.Table]:
    """What it saw in those of videos that are ranked again, by the windows of the runs that scored them."""
    store = open_store(run.spec.library) if run.spec.library else run.spec.output

    def scored_by(each: tuple[LibraryEntry, RankedVideo]) -> tuple[str, str]:
        return str(each[0].scored_on), str(each[0].scored_in)

    for (run_date, run_id), videos in groupby(sorted(_ranked_again(ledger), key=scored_by), key=scored_by):
        wanted = segments_of(video for _, video in videos)
        columns = [*NAMED, "embedding"]
        if run_id == run.spec.run_id:  # scored by another head, from what is stored
            stored = ledger.known.windows(columns)
        else:
            stored = windows_of_run(store, columns, run_date=run_date, run_id=run_id)
        for windows in stored:
            some = windows.filter(pc.is_in(windows["video_uri"], pc.unique(wanted["video_uri"])))
            some = some.filter(pc.is_in(segment_keys(some), value_set=segment_keys(wanted)))
            if len(some):
                yield with_sketches(some.drop_columns("embedding"), embeddings_of(some).astype(np.float16))


def _age(video: RankedVideo) -> tuple[bool, datetime | None, str]:
    written = video.timeline.video.modified_at
    return written is None, written, video.timeline.video.label


def _ranked_again(ledger: Ledger) -> Iterator[tuple[LibraryEntry, RankedVideo]]:
    return zip(ledger.known.scored, ledger.known.reranked, strict=True)


def _without(table: pa.Table, videos: pa.Array) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["video_uri"], videos))) if len(videos) else table
