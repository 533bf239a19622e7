"""What a run need not do again, because the previous one did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records import Failure, RankedVideo, ScoredVideo, Timeline, VideoRef
from tasks.core.scoring.candidates import choose_candidates
from tasks.core.scoring.window_cuts import scored_windows
from tasks.core.scoring.windows import windows
from tasks.core.settings import Settings
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.schemas import RANKINGS, windows_schema

SCORE_COLUMNS = pa.schema(
    [windows_schema(1).field(name) for name in ("video_uri", "start", "videomae_score", "fast_kind")]
)
"""The columns of `windows` from which a video is ranked again."""


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """What the newest complete run left: its library and its refusals by URI, and its ranking.

    `ranks` has the `RANK_COLUMNS` of its ranking; `rankings` all columns, or None where this run ranks by
    other settings or models.
    """

    run_id: str
    entries: Mapping[str, LibraryEntry]
    refusals: Mapping[str, Failure]
    ranks: pa.Table
    rankings: pa.Table | None = None

    def without(self, videos: Sequence[VideoRef]) -> PreviousRun:
        """The same run, as if it had not seen these videos."""
        labels = {video.label for video in videos}
        entries = {uri: entry for uri, entry in self.entries.items() if uri not in labels}
        return replace(self, entries=entries)


@dataclass(frozen=True, slots=True)
class Reuse:
    """What a run takes from the previous one, and the listed videos that it still has `to_open`.

    `settled` videos keep their rows as they are; `damage` says which of them break off. `scored` videos have
    stored scores from which they are ranked again: `reranked`. `refused` videos are rejected as before.
    `remembered` are the library's entries of the refused, and of videos that are not listed.
    """

    to_open: Sequence[VideoRef]
    settled: Sequence[LibraryEntry] = ()
    scored: Sequence[LibraryEntry] = ()
    reranked: Sequence[RankedVideo] = ()
    refused: Sequence[Failure] = ()
    remembered: Sequence[LibraryEntry] = ()
    damage: Sequence[Failure] = ()
    previous: PreviousRun | None = None

    @property
    def unchanged(self) -> list[LibraryEntry]:
        """The ranked videos that need not be opened."""
        return [*self.settled, *self.scored]

    @property
    def carried(self) -> pa.Table:
        """The rows of the settled videos."""
        if self.previous is None or self.previous.rankings is None:
            return RANKINGS.empty_table()
        rankings = self.previous.rankings
        uris = pa.array([entry.video.uri for entry in self.settled], pa.string())
        wanted = pc.is_in(rankings["video_uri"], uris)
        return rankings if pc.all(wanted).as_py() else rankings.filter(wanted)


def match_videos(
    videos: Sequence[VideoRef], previous: PreviousRun, digests: Digests, *, today: date, at_any_size: bool
) -> Reuse:
    """Compare what is listed with what is remembered; `today` becomes the day it was last listed."""
    unknown: list[VideoRef] = []
    settled: list[LibraryEntry] = []
    scored: list[LibraryEntry] = []
    refused: list[Failure] = []
    remembered: list[LibraryEntry] = []
    ranked = set()
    if previous.rankings is not None:
        ranked = set(pc.unique(previous.rankings["video_uri"]).to_pylist())
    for video in videos:
        entry, refusal = previous.entries.get(video.uri), previous.refusals.get(video.uri)
        if entry is None or not entry.holds_for(video, digests, at_any_size=at_any_size):
            unknown.append(video)
        elif entry.timeline:
            is_settled = video.uri in ranked and not (entry.unanswered or entry.untranscribed)
            (settled if is_settled else scored).append(replace(entry, video=video, last_listed=today))
        elif refusal:
            refused.append(replace(refusal, video=video))
            remembered.append(replace(entry, last_listed=today))
        else:
            unknown.append(video)
    listed = {video.label for video in videos}
    unlisted = (entry for uri, entry in previous.entries.items() if uri not in listed)
    remembered.extend(entry for entry in unlisted if entry.is_remembered(today))
    return Reuse(unknown, settled, scored, refused=refused, remembered=remembered, previous=previous)


def restore_scores(timeline: Timeline, stored: Mapping[str, Any], settings: Settings) -> ScoredVideo | None:
    """A video with its stored scores, without embeddings; its candidates are chosen by these settings.

    `stored` maps the names of `SCORE_COLUMNS` to their values in the video's rows. None where the rows are
    not those of the windows into which the settings cut the video.
    """
    cut, ranking = settings.windows, settings.ranking
    lengths = [seconds * timeline.fps for seconds in cut.window_seconds]
    every = windows(timeline.n_ticks, lengths=lengths, stride=cut.stride_seconds * timeline.fps)
    if [timeline.seconds(window.start) for window in every] != stored["start"]:
        return None
    scored = scored_windows(every, stored["videomae_score"], timeline)
    chosen = choose_candidates(scored, count=ranking.candidates, max_overlap=ranking.max_overlap)
    return ScoredVideo(timeline, tuple(chosen), np.empty((0, 0), np.float16), stored["fast_kind"][0])


def scores_by_video(table: pa.Table) -> dict[str, pa.Table]:
    """The `SCORE_COLUMNS` of each video of a `windows` table, where its rows lie together.

    Raises:
        pyarrow.ArrowException: they are not what they should be.
    """
    table = table.select(SCORE_COLUMNS.names).drop_null().cast(SCORE_COLUMNS)
    ends = pc.run_end_encode(table["video_uri"].combine_chunks())
    starts = [0, *ends.run_ends.to_pylist()]
    return {
        uri: table.slice(start, end - start)
        for uri, start, end in zip(ends.values.to_pylist(), starts, starts[1:], strict=False)
    }
