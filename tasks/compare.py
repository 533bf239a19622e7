"""Compare the ranked segments with those of other videos, to find what is shown twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.adapters.models.checkpoints import embedding_size
from tasks.adapters.storage import Store
from tasks.adapters.storage.nights import windows_of_run
from tasks.adapters.storage.published import row_group, row_groups
from tasks.core.records import RankedVideo
from tasks.core.tables.duplicates import NEW_AT_ONCE, Duplicates, with_sketches
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.nearest import embeddings_of
from tasks.core.tables.run_ranking import segment_keys
from tasks.core.tables.schemas import fingerprints_schema
from tasks.fingerprints import Videos, are_among, for_each_run, videos_by_run, without
from tasks.run.ledger import Ledger
from tasks.run.logs import log_event
from tasks.run.retries import retried
from tasks.run.run import Run

LOGGED_EACH = 100 * NEW_AT_ONCE
"""Segments: they take minutes, where many come before them."""

NAMED = ("video_uri", "video_etag", "start", "end")


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


def go_on(run: Run, segments: int, compared: int) -> None:
    """Say from time to time how far the new segments are compared with each other.

    Raises:
        RunEnded: the run was stopped.
    """
    run.raise_if_stopped()
    if compared and not compared % LOGGED_EACH:
        text = f"{compared:,} of {segments:,} segments are compared with those before them"
        log_event(run.spec.run_id, "compare", text)


@retried("find duplicates")
def find_duplicates(ledger: Ledger, run: Run) -> Duplicates:
    """Compare what this run has ranked with the originals of earlier runs, and then with each other.

    In memory are the fingerprints of the new segments, the URIs of the library, and a row group.

    Raises:
        StorageError: the output cannot be reached.
    """
    found = Duplicates(new_segments(ledger, run), least=float(run.spec.settings.ranking.duplicate_from))
    known, previous = ledger.known, ledger.known.previous
    # Others may be in the library: what a list names cannot be used on every night.
    ranked = (without(table, previous.gone) for table in previous.rows(["video_uri"])) if previous else ()
    uris = pa.chunked_array([pc.unique(table["video_uri"]) for table in ranked], pa.string()).unique().sort()
    if previous and previous.gone is not None:
        rows = previous.rows([*NAMED, "duplicate_of", "duplicate_similarity"])
        found.compare_with_copies(without(table, previous.gone) for table in rows)
        compare_with_originals(found, videos_by_run(known.library, uris), run)
    else:
        note_apart(found, videos_by_run(known.compared, uris), run)
    found.compare_new(partial(go_on, run, len(found.new)))
    if count := int(found.are_duplicates.sum()):
        log_event(run.spec.run_id, "compare", f"{count} ranked segments show what another video shows")
    return found


def note_apart(found: Duplicates, videos: Videos, run: Run) -> None:
    """Note what earlier runs have found to be originals, of these videos in the ranking of the run before.

    They were in each ranking since the run that decided their ranks: what came later was compared with them,
    as far as their fingerprints could be read. A video that was in none for a night is ranked again when it
    comes back.
    """
    columns = ["video_uri", "start", "end", "is_original", "fingerprint"]

    def look(name: str, wanted: pa.Array) -> None:
        for rows in row_groups(run.spec.output, name, columns, optional=["compared_with_all"]):
            if "compared_with_all" in rows.column_names:  # earlier versions did not say
                mask = pc.and_(rows["is_original"], rows["compared_with_all"])
                found.note_apart(rows.filter(pc.and_(mask, are_among(rows["video_uri"], wanted))))

    for_each_run(videos, run, look, lost="videos are compared with all others again")


def compare_with_originals(found: Duplicates, videos: Videos, run: Run) -> None:
    """Compare with what earlier runs have ranked, as far as it is of these videos, and original."""
    lost = "videos are not compared with those that are new"
    look = partial(compare_with_run, found, run.spec.output)
    found.compared_with_all = for_each_run(videos, run, look, lost=lost)


def compare_with_run(found: Duplicates, store: Store, name: str, videos: pa.Array) -> None:
    """Compare with the originals among these videos in one table `fingerprints`."""
    columns = ["video_uri", "start", "end", "is_original", "sketch"]
    for number, rows in enumerate(row_groups(store, name, columns)):
        mask = pc.and_(rows["is_original"], are_among(rows["video_uri"], videos))
        found.compare_with(rows.filter(mask), partial(_fingerprints, store, name, number, mask))


def _fingerprints(store: Store, name: str, number: int, mask: pa.ChunkedArray) -> pa.Table:
    return row_group(store, name, number, ["fingerprint"]).filter(mask)


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

    def scored_by(each: tuple[LibraryEntry, RankedVideo]) -> tuple[str, str]:
        return str(each[0].scored_on), str(each[0].scored_in)

    for (run_date, run_id), videos in groupby(sorted(_ranked_again(ledger), key=scored_by), key=scored_by):
        wanted = segments_of(video for _, video in videos)
        columns = [*NAMED, "embedding"]
        if run_id == run.spec.run_id:  # scored by another head, from what is stored
            stored = ledger.known.windows(columns)
        else:
            stored = windows_of_run(run.spec.output, columns, run_date=run_date, run_id=run_id)
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
