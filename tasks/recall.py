"""Recall what earlier runs found out about the listed videos, so that it is not found out again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.parquet_files import ParquetRows
from tasks.adapters.storage.previous_tables import fetch_library, fetch_rankings
from tasks.adapters.storage.published import newest_manifest, read_rows_of, read_table
from tasks.core.errors import StorageError
from tasks.core.listing import Listing
from tasks.core.manifest import Manifest
from tasks.core.records import Failure, FailureKind
from tasks.core.tables.duplicates import dependents
from tasks.core.tables.library import check_library
from tasks.core.tables.matching import Matches, match_videos
from tasks.core.tables.reuse import PreviousRun, Reuse
from tasks.core.tables.rows import read_failures
from tasks.core.tables.run_ranking import PreviousRanking
from tasks.core.tables.schemas import LIBRARY, upgraded
from tasks.core.tables.sorted_rows import Tables, no_rows
from tasks.fingerprints import dropped_duplicates, videos_by_run
from tasks.rank import damage
from tasks.rerank import rerank_all
from tasks.run.retries import go_on_without, retried
from tasks.run.run import Run


def recall(listing: Listing, run: Run) -> Reuse:
    """What this run takes from the newest complete run under this output.

    Raises:
        StorageError: the output cannot be reached. What cannot be read for another reason is not reused.
    """
    # The videos of a large library are not handed to a task: Prefect would look into each of them.
    labels = [video.label for video in listing.videos] if run.spec.library else []
    previous = read_previous_run(run, labels)
    return plan_reuse(listing, previous, run) if previous else Reuse(listing.videos)


@retried("read library")
def read_previous_run(run: Run, labels: Sequence[str] = ()) -> PreviousRun | None:
    """What the newest complete run left; None if there is no such run, or it cannot be read.

    A run that recalls another output's library takes only what is known of the videos of these `labels`.

    Raises:
        StorageError: the output cannot be reached. Raised instead of returning None, because None means
            that every video is processed again.
    """
    spec = run.spec
    store = open_store(spec.library) if spec.library else spec.output
    if not store.exists("latest.json"):
        return None
    with go_on_without("recall", "All videos are opened and scored anew.", run_id=spec.run_id):
        return known_of(labels, store) if spec.library else previous_run(store, run)
    return None


def previous_run(store: Store, run: Run) -> PreviousRun:
    """What the newest complete run left. Its tables are copied to scratch, and looked through there.

    Raises:
        StorageError: it cannot be read.
    """
    manifest = newest_manifest(store)
    try:
        failures = read_failures(read_table(store, "failures", manifest))
        library = fetch_library(store, manifest, run.scratch)
        rankings, ranked = ranking_of(store, manifest, run)
        return PreviousRun(
            manifest.run_id,
            library,
            {failure.video.uri: failure for failure in failures if failure.kind == FailureKind.REJECTED},
            rankings,
            ranked if manifest.models == run.spec.stamp.models else None,
            duplicate_bar(manifest),
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise StorageError.invalid(
            f"The tables of the newest run under {store.uri} are not what this version writes ({error})."
        ) from error


def duplicate_bar(run: Manifest) -> float | None:
    """The cosine from which a run took segments for duplicates; None where it compared none."""
    ranking = run.settings.get("ranking", {})
    return None if ranking.get("duplicates", "keep") == "keep" else float(ranking["duplicate_from"])


def ranking_of(store: Store, manifest: Manifest, run: Run) -> tuple[Tables | None, pa.Array | None]:
    """The ranking of a run and the URIs of its videos; None if it cannot be read.

    Raises:
        StorageError: the output cannot be reached.
    """
    message = "All videos are ranked again, from their stored scores."
    with go_on_without("recall", message, run_id=run.spec.run_id):
        return fetch_rankings(store, manifest, run.scratch)
    return None, None


def known_of(labels: Sequence[str], store: Store) -> PreviousRun:
    """What the newest complete run left of a few videos; little else is read. Their ranks are not.

    Raises:
        StorageError: it cannot be read.
    """
    newest = newest_manifest(store)
    run: dict[str, Any] = {"run_date": newest.run_date, "run_id": newest.run_id}
    library = LIBRARY.empty_table()
    refusals: dict[str, Failure] = {}
    try:
        for label in sorted(labels):
            rows = upgraded(read_rows_of(store, "library", None, video=label, **run), LIBRARY)
            check_library(rows)
            library = pa.concat_tables([library, rows])
            failures = read_failures(read_rows_of(store, "failures", None, video=label, **run))
            refusals |= {each.video.uri: each for each in failures if each.kind == FailureKind.REJECTED}
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError.invalid(
            f"The tables of the newest run under {store.uri} are not what this version writes ({error})."
        ) from error
    return PreviousRun(newest.run_id, lambda columns: [library], refusals, no_rows)


def plan_reuse(listing: Listing, previous: PreviousRun, run: Run) -> Reuse:
    """Match the listed videos with the previous run, and rank again those that need not be opened for it."""
    library = ParquetRows(run.scratch / "remembered-library.parquet")
    matches = match_with(listing, previous, run, library)
    if len(copies := copies_of_what_is_gone(matches, previous, run)):
        matches = match_with(listing, previous, run, library, again=copies)
    again = rerank_all(matches.scored, run)
    known = {entry.video for entry in again.entries}
    to_open = [*matches.to_open, *(entry.video for entry in matches.scored if entry.video not in known)]
    gone = pa.concat_arrays(matches.gone)
    bar = previous.duplicate_from
    is_compared = bar is not None and bar <= float(run.spec.settings.ranking.duplicate_from)
    return Reuse(
        to_open=sorted(to_open, key=lambda video: video.uri),
        settled=matches.settled,
        damaged=matches.damaged,
        damage=[note for entry in matches.damaged if entry.timeline for note in damage(entry.timeline)],
        scored=again.entries,
        reranked=again.videos,
        rescored=again.rescored,
        windows=again.windows,
        words=again.words,
        waiting=matches.waiting + again.waiting,
        reopened=len(again.reopened),
        analysed=again.retried | again.reopened,
        refused=matches.refused,
        library=library,
        compared=previous.library if is_compared else no_rows,
        previous=previous.rankings
        and PreviousRanking(previous.run_id, previous.rankings, gone if matches.settled else None),
    )


def match_with(
    listing: Listing, previous: PreviousRun, run: Run, library: ParquetRows, *, again: pa.Array | None = None
) -> Matches:
    """What is listed beside the library of the run before, of which the rows that stay go to `library`."""
    spec = run.spec
    with pq.ParquetWriter(library.path, LIBRARY, compression="zstd") as remembered:
        return match_videos(
            listing.videos,
            previous,
            spec.digests,
            today=spec.run_date,
            # Without the deep model, the frame size that it needs is not known either.
            at_any_size=spec.lacks_deep,
            rescore=spec.settings.select.rescore,
            most_reopened=spec.settings.select.most_reopened,
            also_listed=[failure.video.label for failure in listing.refused],
            again=again,
            keep=remembered.write_table,
        )


def copies_of_what_is_gone(matches: Matches, previous: PreviousRun, run: Run) -> pa.Array:
    """The videos with duplicates of what is gone, or may be: they are ranked again, and compared again."""
    gone = pa.concat_arrays(matches.gone)
    if run.spec.settings.ranking.duplicates == "keep" or previous.ranked is None or not len(gone):
        return gone[:0]
    assert previous.rankings is not None  # its videos are known
    marked = previous.rankings(["video_uri", "duplicate_of"])
    if run.spec.settings.ranking.duplicates == "drop":  # those that were dropped are in no ranking
        stay = previous.ranked.filter(pc.invert(pc.is_in(previous.ranked, gone)))
        marked = chain(marked, dropped_duplicates(videos_by_run(previous.library, stay), run))
    return dependents(marked, gone)
