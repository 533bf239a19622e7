"""What a run need not do again, because the previous one did it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records import Failure, RankedVideo, ScoredVideo, Timeline, VideoRef, Window
from tasks.core.scoring.candidates import choose_candidates
from tasks.core.scoring.window_cuts import scored_windows
from tasks.core.scoring.windows import windows
from tasks.core.settings import Settings
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.run_ranking import PreviousRanking
from tasks.core.tables.schemas import windows_schema
from tasks.core.tables.sorted_rows import Tables, no_rows

SCORE_COLUMNS = ("video_uri", "start", "videomae_score", "fast_kind", "analysed_before")
"""The columns of `windows` from which a video is ranked again, and one that earlier versions did not have."""


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """What the newest complete run left: library and refusals by URI, and its ranking, best first.

    `ranked` are the URIs of the videos in its ranking, sorted; None where this run ranks by other settings or
    models, and no row of it stays. `rankings` is None where the ranking cannot be read. `duplicate_from` is
    the cosine from which it took segments for duplicates; None where it compared none.
    """

    run_id: str
    library: Tables
    refusals: Mapping[str, Failure]
    rankings: Tables | None
    ranked: pa.Array | None = None
    duplicate_from: float | None = None


@dataclass(frozen=True, slots=True)
class Reuse:
    """What a run takes from the previous one, and the listed videos that it still has `to_open`.

    `settled` counts the videos that keep their rows as they are; `damaged` are those of them of whose file
    something is missing, `damage` says what. `scored` videos have stored scores from which they are ranked
    again: `reranked`. `rescored` counts those of them whose scores are another head's, made from what is
    stored; `windows` and `words` have their new rows. `waiting` counts the videos whose ranks are still by an
    earlier head. `reopened` counts those of `to_open` that want a look for another head. `analysed` has, of
    these and of others that stored scores do not suffice for, the windows whose answers are known. `refused`
    videos are rejected as before. `library` has the rows of the library that stay in it: of settled and
    refused videos, and of those that are not listed. `compared` has all rows of the previous run's, if it
    looked for duplicates by the bar of this run or a lower one.
    """

    to_open: Sequence[VideoRef]
    settled: int = 0
    damaged: Sequence[LibraryEntry] = ()
    damage: Sequence[Failure] = ()
    scored: Sequence[LibraryEntry] = ()
    reranked: Sequence[RankedVideo] = ()
    rescored: int = 0
    windows: Tables = no_rows
    words: Tables = no_rows
    waiting: int = 0
    reopened: int = 0
    analysed: Mapping[VideoRef, frozenset[Window]] = field(default_factory=dict)
    refused: Sequence[Failure] = ()
    library: Tables = no_rows
    compared: Tables = no_rows
    previous: PreviousRanking | None = None

    @property
    def unchanged(self) -> int:
        """The ranked videos that need not be opened."""
        return self.settled + len(self.scored)

    @property
    def timelines(self) -> list[Timeline]:
        """Of unchanged videos; of the settled ones only where something is missing."""
        return [entry.timeline for entry in (*self.damaged, *self.scored) if entry.timeline]


def restore_scores(
    timeline: Timeline, stored: Mapping[str, Any], settings: Settings, *, rank_all: bool = False
) -> ScoredVideo | None:
    """A video with its stored scores, without embeddings; its candidates are chosen by these settings.

    `stored` maps the names of `SCORE_COLUMNS` to their values in the video's rows. None where the rows are
    not those of the windows into which the settings cut the video. `rank_all` as in `choose_candidates`.
    """
    cut, ranking = settings.windows, settings.ranking
    lengths = [seconds * timeline.fps for seconds in cut.window_seconds]
    every = windows(timeline.n_ticks, lengths=lengths, stride=cut.stride_seconds * timeline.fps)
    if [timeline.seconds(window.start) for window in every] != stored["start"]:
        return None
    analysed = {window for window, before in zip(every, stored["analysed_before"], strict=True) if before}
    scored = scored_windows(every, stored["videomae_score"], timeline, analysed=analysed)
    chosen = choose_candidates(
        scored, count=ranking.candidates, max_overlap=ranking.max_overlap, rank_all=rank_all
    )
    return ScoredVideo(timeline, tuple(chosen), np.empty((0, 0), np.float16), stored["fast_kind"][0])


def stored_scores(rows: pa.Table) -> dict[str, list[Any]]:
    """The values of `SCORE_COLUMNS` in the rows of a video, of any schema version.

    Raises:
        pyarrow.ArrowException, KeyError: they are not what they should be.
    """
    scores = rows.select(SCORE_COLUMNS[:-1]).drop_null().cast(_SCORES)
    names = rows.column_names
    before = rows["analysed_before"].to_pylist() if "analysed_before" in names else [None] * len(rows)
    return {**scores.to_pydict(), "analysed_before": before}


def by_video(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each video of a table in which they lie together, with its URI."""
    ends = pc.run_end_encode(table["video_uri"].combine_chunks())
    starts = [0, *ends.run_ends.to_pylist()]
    for uri, start, end in zip(ends.values.to_pylist(), starts, starts[1:], strict=False):
        yield uri, table.slice(start, end - start)


_SCORES = pa.schema([windows_schema(1).field(name) for name in SCORE_COLUMNS[:-1]])
