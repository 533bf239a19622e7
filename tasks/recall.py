"""Recall what earlier runs found out about the listed videos, so that it is not found out again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.parquet_files import ParquetRows
from tasks.adapters.storage.previous_tables import fetch_library, fetch_rankings
from tasks.adapters.storage.published import newest_manifest, read_columns, read_rows_of, read_table
from tasks.core.errors import StorageError
from tasks.core.listing import Listing
from tasks.core.manifest import Manifest
from tasks.core.records import Analysis, Failure, FailureKind, RankedVideo, VideoRef
from tasks.core.scoring.windows import batches
from tasks.core.speech.heard import Heard
from tasks.core.tables.library import LibraryEntry, check_library
from tasks.core.tables.matching import match_videos
from tasks.core.tables.reuse import SCORE_COLUMNS, PreviousRun, Reuse, restore_scores, scores_by_video
from tasks.core.tables.rows import read_failures
from tasks.core.tables.run_ranking import PreviousRanking
from tasks.core.tables.schemas import LIBRARY, upgraded
from tasks.core.tables.sorted_rows import Tables, no_rows
from tasks.core.views.pictures import strongest_tick, thumbnail_folder, thumbnail_name
from tasks.rank import damage, rank_video
from tasks.run.logs import log_event
from tasks.run.retries import retried
from tasks.run.run import Run
from tasks.work.analyses import find_analyses
from tasks.work.hearing import recall_heard
from tasks.work.spec import RunSpec
from tasks.work.transcripts import transcribed_before, with_own_words

HEARD_AT_ONCE = 32
"""Records of what was heard that are read at once: one may be of hours of talk."""


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
    try:
        return known_of(labels, store) if spec.library else previous_run(store, run)
    except StorageError as error:
        if error.retryable:
            raise
        message = f"All videos are opened and scored anew. {error}"
        log_event(spec.run_id, "recall", message, level=logging.WARNING)
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
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise StorageError.invalid(
            f"The tables of the newest run under {store.uri} are not what this version writes ({error})."
        ) from error


def ranking_of(store: Store, manifest: Manifest, run: Run) -> tuple[Tables | None, pa.Array | None]:
    """The ranking of a run and the URIs of its videos; None if it cannot be read.

    Raises:
        StorageError: the output cannot be reached.
    """
    try:
        return fetch_rankings(store, manifest, run.scratch)
    except StorageError as error:
        if error.retryable:
            raise
        message = f"All videos are ranked again, from their stored scores. {error}"
        log_event(run.spec.run_id, "recall", message, level=logging.WARNING)
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
    spec = run.spec
    library = ParquetRows(run.scratch / "remembered-library.parquet")
    with pq.ParquetWriter(library.path, LIBRARY, compression="zstd") as remembered:
        matches = match_videos(
            listing.videos,
            previous,
            spec.digests,
            today=spec.run_date,
            # Without the deep model, the frame size that it needs is not known either.
            at_any_size=isinstance(spec.deep, Analysis) and spec.deep.status == "failed",
            rescore=spec.settings.select.rescore,
            also_listed=[failure.video.label for failure in listing.refused],
            keep=remembered.write_table,
        )
    reranked = list(rerank_all(matches.scored, run))
    known = {entry.video for entry, _ in reranked}
    to_open = [*matches.to_open, *(entry.video for entry in matches.scored if entry.video not in known)]
    gone = pa.concat_arrays(matches.gone)
    return Reuse(
        to_open=sorted(to_open, key=lambda video: video.uri),
        settled=matches.settled,
        damaged=matches.damaged,
        damage=[note for entry in matches.damaged if entry.timeline for note in damage(entry.timeline)],
        scored=[entry for entry, _ in reranked],
        reranked=[video for _, video in reranked],
        refused=matches.refused,
        library=library,
        previous=previous.rankings
        and PreviousRanking(previous.run_id, previous.rankings, gone if matches.settled else None),
    )


def rerank_all(entries: Sequence[LibraryEntry], run: Run) -> Iterator[tuple[LibraryEntry, RankedVideo]]:
    """Rank videos from their stored scores. Those with a candidate that is not in the cache are left out."""
    by_run = sorted(entries, key=_scored_by)
    for (run_date, run_id), scored in groupby(by_run, key=_scored_by):
        entries_of_run = list(scored)
        rows = read_scores(run_date, run_id, run, uris={entry.video.uri for entry in entries_of_run})
        for some in batches(entries_of_run, size=HEARD_AT_ONCE):
            heard = (
                read_heard([entry.video for entry in some], run) if run.spec.settings.speech.enabled else {}
            )
            for entry in some:
                if ranked := rerank(entry, rows.get(entry.video.uri), heard.get(entry.video), run.spec):
                    yield _ranked_again(entry, ranked, run.spec), ranked


@retried("read scores", run_name="read scores of {run_id}")
def read_scores(
    run_date: str, run_id: str, run: Run, *, uris: Collection[str] = ()
) -> Mapping[str, pa.Table]:
    """The stored scores of the videos that a run scored, of these at least; empty if they cannot be read.

    Raises:
        StorageError: the output cannot be reached.
    """
    spec, columns, about = run.spec, SCORE_COLUMNS.names, {"run_date": run_date, "run_id": run_id}
    try:
        if spec.library:
            library = open_store(spec.library)
            tables = [read_rows_of(library, "windows", columns, video=uri, **about) for uri in sorted(uris)]
            return {uri: rows for table in tables for uri, rows in scores_by_video(table).items()}
        table = read_columns(spec.output, "windows", columns, scratch=run.scratch, **about)
        return scores_by_video(table)
    except (StorageError, pa.ArrowException) as error:
        if isinstance(error, StorageError) and error.retryable:
            raise
        message = f"The videos scored in run {run_id} are opened anew. {error}"
        log_event(run.spec.run_id, "recall", message, level=logging.WARNING)
        return {}


@retried("recall what was heard")
def read_heard(videos: Sequence[VideoRef], run: Run) -> Mapping[VideoRef, Heard]:
    """What earlier runs have heard in these videos; nothing if it cannot be read.

    Raises:
        StorageError: the output cannot be reached. Ranked without it, the videos would stay without cuts.
    """
    try:
        return recall_heard(videos, run.spec)
    except StorageError as error:
        if error.retryable:
            raise
        message = f"What was heard in {len(videos)} videos cannot be read: they are ranked without. {error}"
        log_event(run.spec.run_id, "recall", message, level=logging.WARNING)
        return {}


def rerank(
    entry: LibraryEntry, rows: pa.Table | None, heard: Heard | None, spec: RunSpec
) -> RankedVideo | None:
    """Rank one video from its rows of `windows`, and from what was heard; None if something is missing.

    Earlier versions kept no record of what they heard: such a video has no cuts, and is not opened for them.
    """
    if rows is None or entry.timeline is None:
        return None
    timeline = with_own_words(replace(entry.timeline, heard=heard), spec)
    scored = restore_scores(timeline, rows.to_pydict(), spec.settings)
    scored = scored and transcribed_before(scored, spec)
    analyses = scored and find_analyses(scored.candidates, scored.timeline, spec)
    if not (scored and analyses):
        return None
    ranked = rank_video(scored, analyses, spec.settings.ranking)
    if spec.settings.publish.thumbnails:
        ranked = with_kept_thumbnails(ranked, spec)
    # There may be many such videos at once: only what will be published is kept in memory.
    timeline = replace(timeline, heard=heard and heard.outcome)
    return replace(ranked, scored=replace(scored, timeline=timeline, windows=tuple(scored.candidates)))


def with_kept_thumbnails(ranked: RankedVideo, spec: RunSpec) -> RankedVideo:
    """The same video, which was not opened, with those of its thumbnails that earlier runs have written.

    Those of another output's library are copied: what is published names nothing outside of its output.

    Raises:
        StorageError: the output cannot be reached.
    """
    timeline, video = ranked.timeline, ranked.timeline.video
    kept = set(spec.output.names(thumbnail_folder(video)))
    ticks = [strongest_tick(segment, timeline) for segment in ranked.segments]
    names = [thumbnail_name(video, tick, timeline.fps) for tick in ticks]
    if spec.library:
        kept |= copied_thumbnails({*names} - kept, video, spec)
    segments = (
        replace(segment, thumbnail_uri=name if name in kept else None)
        for segment, name in zip(ranked.segments, names, strict=True)
    )
    return replace(ranked, segments=tuple(segments))


def copied_thumbnails(names: Collection[str], video: VideoRef, spec: RunSpec) -> set[str]:
    """Copy those of these pictures that the library has; says which. One that cannot be is left out."""
    copied, library = set[str](), open_store(spec.library)
    try:
        for name in {*names} & {*library.names(thumbnail_folder(video))}:
            spec.output.write_bytes(name, library.read_bytes(name))
            copied.add(name)
    except StorageError as error:  # no picture is worth a ranking
        message = f"{video.label} is ranked without some of its pictures. {error}"
        log_event(spec.run_id, "recall", message, level=logging.WARNING)
    return copied


def _ranked_again(entry: LibraryEntry, ranked: RankedVideo, spec: RunSpec) -> LibraryEntry:
    return replace(
        entry,
        unanswered=ranked.unanswered,
        untranscribed=bool(ranked.scored.failures),
        ranked_in=spec.run_id,
    )


def _scored_by(entry: LibraryEntry) -> tuple[str, str]:
    return str(entry.scored_on), str(entry.scored_in)
