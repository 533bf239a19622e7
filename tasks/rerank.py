"""Rank videos again from what is stored of them: by other settings, or by another head of the fast score."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.storage import open_store
from tasks.adapters.storage.nights import whole_videos
from tasks.adapters.storage.parquet_files import RowsByVideo
from tasks.adapters.storage.published import explaining, manifest_of, read_rows_of
from tasks.core.amounts import number_of
from tasks.core.errors import StorageError
from tasks.core.learning.videos import features_of
from tasks.core.records import RankedVideo, ScoredVideo, VideoRef, Window, WindowFeatures
from tasks.core.speech.heard import Heard
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.reuse import SCORE_COLUMNS, by_video, restore_scores, stored_scores
from tasks.core.tables.rows import rescored_windows
from tasks.core.tables.schemas import table_name, windows_schema
from tasks.core.tables.words import words_table
from tasks.core.views.pictures import strongest_tick, thumbnail_folder, thumbnail_name
from tasks.rank import rank_video
from tasks.run.logs import log_event
from tasks.run.retries import go_on_without, retried
from tasks.run.run import Run
from tasks.work.analyses import find_analyses, standing_in
from tasks.work.hearing import recall_heard
from tasks.work.spec import RunSpec
from tasks.work.transcripts import transcribed_before, with_own_words

HEARD_AT_ONCE = 32
"""Records of what was heard that are read at once: one may be of hours of talk."""

HeadName = Mapping[str, str | None]
"""Which head scored: `head` and `head_revision`, as in the `models` of a run."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of the windows of a video: its rows, their scores by column, and what VideoMAE saw."""

    rows: pa.Table
    scores: Mapping[str, Any]
    features: WindowFeatures | None


@dataclass(slots=True)
class Reranking:
    """Ranks videos from what is stored, one after the other, and keeps what came of each.

    `videos` are those that were ranked, `entries` what the library has to say of each of them. `rescored`
    counts those that have the scores of another head than before; `windows` and `words` are their new rows.
    The deep model has to see other moments of the others: `most_reopened` of them are `reopened`, each with
    its windows that were analysed before, and those that are `waiting` keep the scores that they have.
    `retried` has such windows of videos with the scores of this head, which are opened for a missing answer.
    """

    spec: RunSpec
    most_reopened: int
    windows: RowsByVideo
    words: RowsByVideo
    entries: list[LibraryEntry] = field(default_factory=list)
    videos: list[RankedVideo] = field(default_factory=list)
    rescored: int = 0
    waiting: int = 0
    reopened: dict[VideoRef, frozenset[Window]] = field(default_factory=dict)
    retried: dict[VideoRef, frozenset[Window]] = field(default_factory=dict)

    def add(self, entry: LibraryEntry, stored: Stored, heard: Heard | None, head: HeadName | None) -> None:
        """Rank a video from what is stored, and from what was heard. `head` made the scores; None: unknown.

        Raises:
            ModelError: the head of this run was fitted on embeddings of another model.
        """
        spec = self.spec
        if entry.digests.scoring == spec.digests.scoring:
            video = restored(entry, stored.scores, heard, spec)
            if ranked := ranked_from(video, spec):
                self._keep(entry, ranked)
            elif video:
                self.retried[entry.video] = standing_in(video, spec)
            return
        # Which moments the deep model has to see of it, only a run that has the model can tell.
        if spec.lacks_deep and self._wait(entry, stored, heard, head):
            return
        found = rescore(entry, stored, heard, spec)
        if isinstance(found, RankedVideo):
            self.rescored += 1
            self.windows.add(entry.video.uri, rescored_windows(found, stored.rows, spec.stamp))
            self.words.add(entry.video.uri, words_table([found.timeline], run_id=spec.run_id))
            digests = replace(entry.digests, scoring=spec.digests.scoring)
            self._keep(replace(entry, digests=digests, scored_in=spec.run_id, scored_on=spec.run_date), found)
        elif found is not None and len(self.reopened) < self.most_reopened:
            self.reopened[entry.video] = found
        elif found is not None and not spec.lacks_deep:  # else that was tried above
            self._wait(entry, stored, heard, head)

    def _wait(self, entry: LibraryEntry, stored: Stored, heard: Heard | None, head: HeadName | None) -> bool:
        """Rank a video by the scores that it has, of this head; says whether that can be done."""
        if head is None or not (ranked := rerank(entry, stored, heard, self.spec)):
            return False
        self.waiting += 1
        self._keep(entry, replace(ranked, scored_by=head))
        return True

    def _keep(self, entry: LibraryEntry, ranked: RankedVideo) -> None:
        spec = self.spec
        entry = replace(
            entry,
            digests=replace(entry.digests, embedding=spec.digests.embedding),
            unanswered=ranked.unanswered,
            untranscribed=bool(ranked.scored.failures),
            ranked_in=spec.run_id,
            waits_for=spec.digests.scoring if ranked.scored_by else None,
        )
        if spec.settings.publish.thumbnails:
            ranked = with_kept_thumbnails(ranked, spec)
        self.entries.append(entry)
        self.videos.append(published(ranked))


def rerank_all(entries: Sequence[LibraryEntry], run: Run) -> Reranking:
    """Rank videos from what is stored. Those of which something is missing are left out, or `reopened`.

    Raises:
        StorageError: the output cannot be reached.
        ModelError: the head was fitted on embeddings of another model.
    """
    spec, scratch = run.spec, run.scratch
    # Of a job somebody waits for its one video.
    most = len(entries) if spec.library else spec.settings.select.most_reopened
    windows, words = (RowsByVideo(scratch / f"rescored-{table}.arrow") for table in ("windows", "words"))
    found = Reranking(spec, most, windows, words)
    for (run_date, run_id), of_run in groupby(sorted(entries, key=_scored_by), key=_scored_by):
        known = {entry.video.uri: entry for entry in of_run}
        other_head = any(entry.digests.scoring != spec.digests.scoring for entry in known.values())
        head = read_head(run_id, run) if other_head else None
        videos = stored_videos(run_date, run_id, run, uris=known, whole=other_head)
        while some := list(islice(videos, HEARD_AT_ONCE)):
            refs = [known[uri].video for uri, _ in some]
            heard = read_heard(refs, run) if spec.settings.speech.enabled else {}
            for (uri, stored), video in zip(some, refs, strict=True):
                found.add(known[uri], stored, heard.get(video), head)
    found.windows.close()
    found.words.close()
    return found


def stored_videos(
    run_date: str, run_id: str, run: Run, *, uris: Collection[str], whole: bool
) -> Iterator[tuple[str, Stored]]:
    """What a run stored of these videos, one after the other, as far as it can be read.

    That is all there is, or no more than the scores.

    Raises:
        StorageError: the output cannot be reached.
    """
    columns = windows_schema(1).names if whole else SCORE_COLUMNS
    if (local := fetch_windows(run_date, run_id, run, uris=uris, columns=columns)) is None:
        return
    try:
        with explaining(f"{run.spec.output.uri}/{table_name('windows', run_date=run_date, run_id=run_id)}"):
            for table in whole_videos(local, columns):
                for uri, rows in by_video(table):
                    if uri in uris:
                        yield uri, Stored(rows, stored_scores(rows), features_of(rows))
    except StorageError as error:
        _warn(run_id, run, error)
    finally:
        local.unlink(missing_ok=True)


@retried("read scores", run_name="read scores of {run_id}")
def fetch_windows(
    run_date: str, run_id: str, run: Run, *, uris: Collection[str], columns: Sequence[str]
) -> Path | None:
    """Copy the windows that a run scored to scratch: of these videos, these columns, at least.

    None if they cannot be read.

    Raises:
        StorageError: the output cannot be reached.
    """
    local, about = run.scratch / "stored-windows.parquet", {"run_date": run_date, "run_id": run_id}
    try:
        if library := run.spec.library:
            store = open_store(library)
            tables = [read_rows_of(store, "windows", [*columns], video=uri, **about) for uri in sorted(uris)]
            pq.write_table(pa.concat_tables(tables), local)
        else:
            run.spec.output.fetch(table_name("windows", **about), local)
        return local
    except (StorageError, pa.ArrowException) as error:
        if isinstance(error, StorageError) and error.retryable:
            raise
        _warn(run_id, run, error)
        return None


@retried("read head", run_name="read head of {run_id}")
def read_head(run_id: str, run: Run) -> HeadName | None:
    """The head that made the scores of a run; None if nobody knows any more.

    Raises:
        StorageError: the output cannot be reached.
    """
    try:
        models = manifest_of(open_store(run.spec.library or run.spec.settings.output), run_id).models
    except StorageError as error:
        if error.retryable:
            raise
        return None
    return {name: models.get(name) for name in ("head", "head_revision")}


@retried("recall what was heard")
def read_heard(videos: Sequence[VideoRef], run: Run) -> Mapping[VideoRef, Heard]:
    """What earlier runs have heard in these videos; nothing if it cannot be read.

    Raises:
        StorageError: the output cannot be reached. Ranked without it, the videos would stay without cuts.
    """
    message = f"What was heard in {number_of(len(videos), 'video')} cannot be read; ranked without it."
    with go_on_without("recall", message, run_id=run.spec.run_id):
        return recall_heard(videos, run.spec)
    return {}


def rerank(entry: LibraryEntry, stored: Stored, heard: Heard | None, spec: RunSpec) -> RankedVideo | None:
    """Rank one video from its stored scores, and from what was heard; None if something is missing.

    Earlier versions kept no record of what they heard: such a video has no cuts, and is not opened for them.
    """
    return ranked_from(restored(entry, stored.scores, heard, spec), spec)


def rescore(
    entry: LibraryEntry, stored: Stored, heard: Heard | None, spec: RunSpec
) -> RankedVideo | frozenset[Window] | None:
    """Rank one video by another head, from its stored embeddings.

    Where not all of its candidates have an answer, windows that were analysed before stand in for others
    nearby. If that is not enough they are returned, for when the video is opened. None if it cannot be scored
    from what is stored.

    Raises:
        ModelError: the head was fitted on embeddings of another model.
    """
    features, count = stored.features, len(stored.rows)
    if features is None:
        return None
    scores = {**stored.scores, "videomae_score": spec.fast_scores(features)}
    scores["fast_kind"] = [spec.fast_kind] * count
    answered, earlier = stored.rows["deep_status"].to_pylist(), stored.scores["analysed_before"]
    analysed = [status == "ok" or was for status, was in zip(answered, earlier, strict=True)]
    video: ScoredVideo | None = None
    # Without a deep model no answer is missing, but those that are known will be wanted again.
    for before in ([False] * count, analysed) if isinstance(spec.deep, Checkpoint) else (analysed,):
        if video := restored(entry, scores | {"analysed_before": before}, heard, spec, rank_all=True):
            half = features.embeddings.astype(np.float16)
            if ranked := ranked_from(replace(video, embeddings=half, change=features.change), spec):
                return ranked
    return standing_in(video, spec) if video else None


def restored(
    entry: LibraryEntry,
    scores: Mapping[str, Any],
    heard: Heard | None,
    spec: RunSpec,
    *,
    rank_all: bool = False,
) -> ScoredVideo | None:
    """A video with these scores and its candidates; None if these are the scores of other windows."""
    if entry.timeline is None:
        return None
    timeline = with_own_words(replace(entry.timeline, heard=heard), spec)
    return restore_scores(timeline, scores, spec.settings, rank_all=rank_all)


def ranked_from(video: ScoredVideo | None, spec: RunSpec) -> RankedVideo | None:
    """Rank a video whose candidates are chosen; None if a model must hear or see any of them for it."""
    scored = video and transcribed_before(video, spec)
    analyses = scored and find_analyses(scored.candidates, scored.timeline, spec)
    return rank_video(scored, analyses, spec.settings.ranking) if scored and analyses else None


def published(ranked: RankedVideo) -> RankedVideo:
    """What will be published of a video, and no more: there may be many at once in memory."""
    scored, heard = ranked.scored, ranked.timeline.heard
    timeline, nothing = replace(ranked.timeline, heard=heard and heard.outcome), np.empty((0, 0), np.float16)
    shown = tuple(scored.candidates)
    scored = replace(scored, timeline=timeline, windows=shown, embeddings=nothing, change=None)
    return replace(ranked, scored=scored)


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
    uris = (name if name in kept else None for name in names)
    segments = zip(ranked.segments, uris, strict=True)
    return replace(ranked, segments=tuple(replace(each, thumbnail_uri=uri) for each, uri in segments))


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


def _warn(run_id: str, run: Run, error: Exception) -> None:
    message = f"The videos scored in run {run_id} are opened anew. {error}"
    log_event(run.spec.run_id, "recall", message, level=logging.WARNING)


def _scored_by(entry: LibraryEntry) -> tuple[str, str]:
    return str(entry.scored_on), str(entry.scored_in)
