"""The library of a run: what it takes from earlier runs, and what it leaves to the next."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.published import newest_manifest, read_columns, read_table
from tasks.core.errors import StorageError
from tasks.core.records import Analysis, FailureKind, RankedVideo, VideoRef
from tasks.core.tables.library import LibraryEntry, library_table, ranked_entry, read_library
from tasks.core.tables.reuse import (
    SCORE_COLUMNS,
    Earlier,
    Known,
    recognise,
    rows_of,
    scored_again,
    scores_by_video,
)
from tasks.core.tables.rows import read_failures
from tasks.core.tables.run_ranking import PLACES, Previous
from tasks.core.tables.schemas import RANKINGS, upgraded
from tasks.deep import find_analyses
from tasks.ranking import damage, rank_video
from tasks.render import with_thumbnails_of_before
from tasks.run.ledger import Ledger
from tasks.run.logs import log_event
from tasks.run.retries import retry_if_transient
from tasks.run.run import Run

RETRY_SECONDS: list[float] = [2, 10]


def recall(videos: Sequence[VideoRef], run: Run) -> Known:
    """What earlier runs under this output know of the listed videos.

    Raises:
        StorageError: the output is out of reach. What cannot be read for other reasons is not known.
    """
    earlier = read_earlier(run)
    if earlier and run.settings.select.rescore:
        earlier = earlier.without(videos)
    return known_from(earlier, videos, run) if earlier else Known(videos)


@task(
    name="read library",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def read_earlier(run: Run) -> Earlier | None:
    """What the newest complete run left; None where there is none, or it cannot be made out.

    Raises:
        StorageError: the output is out of reach. All videos anew is not what that should cost.
    """
    store = open_store(run.settings.output)
    if not store.exists("latest.json"):
        return None
    try:
        return earlier_run(store, run)
    except StorageError as error:
        if error.retryable:
            raise
        message = f"All videos are opened and scored anew. {error}"
        log_event(run.run_id, "recall", message, level=logging.WARNING)
        return None


def earlier_run(store: Store, run: Run) -> Earlier:
    """What the newest complete run left.

    Raises:
        StorageError: it cannot be read.
    """
    manifest = newest_manifest(store)
    try:
        made_by = {"run_date": manifest["run_date"], "run_id": manifest["run_id"]}
        entries = read_library(read_table(store, "library", **made_by))
        failures = read_failures(read_table(store, "failures", **made_by))
        same = manifest["models"] == run.stamp.models
        columns = None if same else PLACES
        rankings = read_table(store, "rankings", **made_by, columns=columns)
        previous = Previous(manifest["run_id"], rankings.select(PLACES))
        rankings = upgraded(rankings, RANKINGS) if same else None
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise StorageError(
            f"The tables of the newest run under {store.uri} are not what this version writes ({error}).",
            reason="invalid",
            retryable=False,
        ) from error
    refusals = {failure.video.uri: failure for failure in failures if failure.kind == FailureKind.REJECTED}
    return Earlier(entries, refusals, rankings, previous)


def known_from(earlier: Earlier, videos: Sequence[VideoRef], run: Run) -> Known:
    """Sort the listed videos by what is known of them, and rank anew what can be without a look at it."""
    # Without the deep model nobody knows which size it wants frames to have.
    deep_is_missing = isinstance(run.deep, Analysis) and run.deep.status == "failed"
    found = recognise(videos, earlier, run.digests, today=run.run_date, at_any_size=deep_is_missing)
    again = list(rank_stored(found.scored, run))
    known = {entry.video for entry, _ in again}
    to_open = [*found.unknown, *(entry.video for entry in found.scored if entry.video not in known)]
    return Known(
        to_open=sorted(to_open, key=lambda video: video.uri),
        unchanged=[*found.settled, *(entry for entry, _ in again)],
        carried=rows_of(found.settled, earlier.rankings),
        ranked_anew=[video for _, video in again],
        damage=[note for entry in found.settled if entry.timeline for note in damage(entry.timeline)],
        refused=found.refused,
        remembered=found.remembered,
        previous=earlier.previous,
    )


def rank_stored(entries: Sequence[LibraryEntry], run: Run) -> Iterator[tuple[LibraryEntry, RankedVideo]]:
    """Rank videos from their stored scores, those at least whose analyses are all there."""
    by_run = sorted(entries, key=_scored_by)
    for (run_date, run_id), scored in groupby(by_run, key=_scored_by):
        rows = read_scores(run_date, run_id, run)
        for entry in scored:
            if ranked := rank_again(entry, rows.get(entry.video.uri), run):
                yield replace(entry, unanswered=ranked.unanswered), ranked


@task(
    name="read scores",
    task_run_name="read scores of {run_id}",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def read_scores(run_date: str, run_id: str, run: Run) -> Mapping[str, pa.Table]:
    """The stored scores of the videos that a run scored; nothing where they cannot be made out.

    Raises:
        StorageError: the output is out of reach.
    """
    store = open_store(run.settings.output)
    try:
        return scores_by_video(
            read_columns(
                store, "windows", SCORE_COLUMNS.names, run_date=run_date, run_id=run_id, scratch=run.scratch
            )
        )
    except (StorageError, pa.ArrowException) as error:
        if isinstance(error, StorageError) and error.retryable:
            raise
        message = f"The videos scored in run {run_id} are opened anew. {error}"
        log_event(run.run_id, "recall", message, level=logging.WARNING)
        return {}


def rank_again(entry: LibraryEntry, rows: pa.Table | None, run: Run) -> RankedVideo | None:
    """Rank one video from its rows of `windows`; None where something is missing."""
    if rows is None or entry.timeline is None:
        return None
    scored = scored_again(entry.timeline, rows.to_pydict(), run.settings)
    analyses = scored and find_analyses(scored.candidates, scored.timeline, run)
    if not (scored and analyses):
        return None
    ranked = with_thumbnails_of_before(rank_video(scored, analyses, run), run)
    # There may be many such videos at once: only what will be published is kept of them.
    return replace(ranked, scored=replace(scored, windows=tuple(scored.candidates)))


def library_of(ledger: Ledger, run: Run) -> pa.Table:
    """The `library` this run leaves to the next."""
    digests, run_date = run.digests, run.run_date
    scored = [ranked_entry(video, digests, run_id=run.run_id, run_date=run_date) for video in ledger.ranked]
    as_before = {entry.video.uri for entry in ledger.known.remembered}
    rejected = [
        LibraryEntry(failure.video, digests, run_date)
        for failure in ledger.refused
        if failure.kind == FailureKind.REJECTED and failure.video.uri not in as_before
    ]
    return library_table([*scored, *ledger.known.unchanged, *rejected, *ledger.known.remembered])


def _scored_by(entry: LibraryEntry) -> tuple[str, str]:
    return str(entry.scored_on), str(entry.scored_in)
