"""What a run need not find out again, because an earlier one did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records import Failure, RankedVideo, ScoredVideo, ScoredWindow, Timeline, VideoRef
from tasks.core.scoring.candidates import choose_candidates
from tasks.core.scoring.windows import windows
from tasks.core.settings import Settings
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.run_ranking import Previous
from tasks.core.tables.schemas import RANKINGS, windows_schema

SCORE_COLUMNS = pa.schema(
    [windows_schema(1).field(name) for name in ("video_uri", "start", "videomae_score", "fast_kind")]
)
"""The columns of `windows` from which a video is ranked anew."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the newest complete run left: its library and its refusals by URI, and its ranking.

    `rankings` is None where this run ranks by other settings or models; `previous` has the places all
    the same.
    """

    entries: Mapping[str, LibraryEntry]
    refusals: Mapping[str, Failure]
    rankings: pa.Table | None
    previous: Previous | None = None

    def without(self, videos: Sequence[VideoRef]) -> Earlier:
        """The same, with nothing about these videos."""
        labels = {video.label for video in videos}
        entries = {uri: entry for uri, entry in self.entries.items() if uri not in labels}
        return replace(self, entries=entries)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the listed videos, and those which are still `to_open`.

    `unchanged` are ranked videos: the rows of some are `carried` over, the others were `ranked_anew`
    from stored scores and analyses; `damage` says what is broken of the former. `refused` are rejected
    as before. `remembered` has the entries of these, and of videos that are not listed. `previous` has
    the places of the run before.
    """

    to_open: Sequence[VideoRef]
    unchanged: Sequence[LibraryEntry] = ()
    carried: pa.Table = field(default_factory=RANKINGS.empty_table)
    ranked_anew: Sequence[RankedVideo] = ()
    damage: Sequence[Failure] = ()
    refused: Sequence[Failure] = ()
    remembered: Sequence[LibraryEntry] = ()
    previous: Previous | None = None


@dataclass(frozen=True, slots=True)
class Recognised:
    """Listed videos by what is known: `settled` altogether, `scored` and to be ranked, `refused`, or nothing.

    `remembered` are the entries of the refused, and of videos that are not listed.
    """

    settled: list[LibraryEntry] = field(default_factory=list)
    scored: list[LibraryEntry] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)
    unknown: list[VideoRef] = field(default_factory=list)
    remembered: list[LibraryEntry] = field(default_factory=list)


def recognise(
    videos: Sequence[VideoRef], earlier: Earlier, digests: Digests, *, today: date, at_any_size: bool
) -> Recognised:
    """Compare what is listed with what is remembered; `today` becomes the day it was last listed."""
    found, ranked = Recognised(), set()
    if earlier.rankings is not None:
        ranked = set(pc.unique(earlier.rankings["video_uri"]).to_pylist())
    for video in videos:
        entry, refusal = earlier.entries.get(video.uri), earlier.refusals.get(video.uri)
        if entry is None or not entry.holds_for(video, digests, at_any_size=at_any_size):
            found.unknown.append(video)
        elif entry.timeline:
            settled = video.uri in ranked and not entry.unanswered
            (found.settled if settled else found.scored).append(replace(entry, last_listed=today))
        elif refusal:
            found.refused.append(replace(refusal, video=video))
            found.remembered.append(replace(entry, last_listed=today))
        else:
            found.unknown.append(video)
    listed = {video.label for video in videos}
    unlisted = (entry for uri, entry in earlier.entries.items() if uri not in listed)
    found.remembered.extend(entry for entry in unlisted if entry.is_remembered(today))
    return found


def rows_of(entries: Sequence[LibraryEntry], rankings: pa.Table | None) -> pa.Table:
    """The ranked segments of these videos."""
    if rankings is None:
        return RANKINGS.empty_table()
    uris = pa.array([entry.video.uri for entry in entries], pa.string())
    wanted = pc.is_in(rankings["video_uri"], uris)
    return rankings if pc.all(wanted).as_py() else rankings.filter(wanted)


def scored_again(timeline: Timeline, stored: Mapping[str, Any], settings: Settings) -> ScoredVideo | None:
    """A video by its stored scores, its candidates chosen anew; without embeddings.

    `stored` has the columns of its `SCORE_COLUMNS`, in their order.
    None where these are not the windows that the settings cut.
    """
    cut, ranking = settings.windows, settings.ranking
    lengths = [seconds * timeline.fps for seconds in cut.window_seconds]
    every = windows(timeline.n_ticks, lengths=lengths, stride=cut.stride_seconds * timeline.fps)
    if [timeline.seconds(window.start) for window in every] != stored["start"]:
        return None
    scored = [ScoredWindow(*both) for both in zip(every, stored["videomae_score"], strict=True)]
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
