"""The library: what is remembered of each video from run to run, one row each."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records import RankedVideo, Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.schemas import LIBRARY, upgraded

KEPT_DAYS = 30
"""How long a video that no run lists stays in the library: runs may be over a part of the source."""


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """A video as it was last ranked; or rejected, where `timeline` is None.

    `scored_in` and `scored_on` name the run whose `windows` hold its scores, and its day. `ranked_in` names
    the run that decided its ranks, a later one where it was ranked again from stored scores. `unanswered`
    counts the candidates without an answer; `untranscribed`: what is said in them is not known, and worth
    another try. `waits_for` is the digest of scores of a newer head, by which it is ranked once it is opened.
    The frames of the timeline are gone: its path is empty.
    `fast_seconds` and `deep_seconds` are what the models took. What earlier versions did not store is None.
    """

    video: VideoRef
    digests: Digests
    last_listed: date
    timeline: Timeline | None = None
    scored_in: str | None = None
    scored_on: date | None = None
    unanswered: int = 0
    fast_seconds: float | None = None
    deep_seconds: float | None = None
    ranked_in: str | None = None
    untranscribed: bool | None = None
    waits_for: str | None = None

    def holds_for(self, video: VideoRef, digests: Digests, *, at_any_size: bool) -> bool:
        """Whether this entry is still valid: same version of the video, same settings and models.

        `at_any_size`: the size that frames should have is not known, so any size counts as the same.
        """
        # A URI that is not valid text never matches: its escaped form may be the name of another video.
        if video != self.video:
            return False
        if not at_any_size and digests.frame_budget != self.digests.frame_budget:
            return False
        if self.timeline:
            return digests.scoring == self.digests.scoring
        return digests.rejecting == self.digests.rejecting


def ranked_entry(video: RankedVideo, digests: Digests, *, run_id: str, run_date: date) -> LibraryEntry:
    """The entry of a video that this run scored."""
    timeline = replace(video.timeline, path="")
    took = (video.scored.seconds, video.deep_seconds)
    return LibraryEntry(
        timeline.video,
        digests,
        run_date,
        timeline,
        run_id,
        run_date,
        video.unanswered,
        *took,
        run_id,
        bool(video.scored.failures),
    )


def library_table(entries: Iterable[LibraryEntry], *, listed: Collection[str]) -> pa.Table:
    """One row an entry, by URI.

    `listed` are the labels of the videos that the run has listed.
    """
    rows = [_row(entry) | {"listed": entry.video.label in listed} for entry in entries]
    rows.sort(key=lambda row: str(row["video_uri"]))
    return pa.Table.from_pylist(rows, schema=LIBRARY)


def read_library(table: pa.Table) -> dict[str, LibraryEntry]:
    """The entries of a `library_table` by URI.

    Raises:
        ValueError, KeyError, TypeError: it is not one.
    """
    table = upgraded(table, LIBRARY)
    check_library(table)
    return {row["video_uri"]: _entry(row) for row in table.to_pylist()}


def of_listed(table: pa.Table) -> pa.Table:
    """The rows of videos that the run has listed. Earlier versions did not say: of theirs, all count."""
    if "listed" not in table.column_names:
        return table
    return table.filter(pc.fill_null(table["listed"], fill_value=True))


def of_gone(table: pa.Table) -> pa.Table:
    """The other rows: of videos that the run knows, and has not listed."""
    if "listed" not in table.column_names:
        return table.slice(0, 0)
    return table.filter(pc.invert(pc.fill_null(table["listed"], fill_value=True)))


def check_library(table: pa.Table) -> None:
    """Raises ValueError where entries cannot be read."""
    without = pc.and_(pc.equal(table["status"], "ranked"), pc.is_null(table["n_ticks"]))
    if pc.any(without).as_py():
        label = table["video_uri"].filter(without)[0]
        raise ValueError(f"{label} is ranked, but how many frames it has is not known")


def by_video(table: pa.Table) -> pa.Table:
    """The rows sorted by URI; of several with the same, the last."""
    rows = {uri: row for row, uri in enumerate(table["video_uri"].to_pylist())}
    return table.take(pa.array([rows[uri] for uri in sorted(rows)], pa.int64()))


def _row(entry: LibraryEntry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "video_uri": entry.video.label,
        "video_etag": entry.video.etag,
        "size_bytes": entry.video.size_bytes,
        "status": "ranked" if entry.timeline else "rejected",
        "last_listed": entry.last_listed,
        "scored_in": entry.scored_in,
        "scored_on": entry.scored_on,
        "unanswered": entry.unanswered,
        "scoring_digest": entry.digests.scoring,
        "rejecting_digest": entry.digests.rejecting,
        "frame_budget": entry.digests.frame_budget,
        "last_modified": entry.video.modified_at,
        "fast_seconds": entry.fast_seconds,
        "deep_seconds": entry.deep_seconds,
        "ranked_in": entry.ranked_in,
        "untranscribed": entry.untranscribed,
        "embedding_digest": entry.digests.embedding if entry.timeline else None,
        "waits_for": entry.waits_for,
    }
    if timeline := entry.timeline:
        row |= {name: getattr(timeline, name) for name in TIMELINE_COLUMNS}
    return row


def _entry(row: dict[str, Any]) -> LibraryEntry:
    video = VideoRef(row["video_uri"], row["video_etag"], row["size_bytes"], row["last_modified"])
    timeline = None
    if row["status"] == "ranked":
        timeline = Timeline(video, "", **{name: row[name] for name in TIMELINE_COLUMNS})
    digests = (row["scoring_digest"], row["rejecting_digest"], row["frame_budget"], row["embedding_digest"])
    return LibraryEntry(
        video,
        Digests(*digests),
        row["last_listed"],
        timeline,
        row["scored_in"],
        row["scored_on"],
        row["unanswered"],
        row["fast_seconds"],
        row["deep_seconds"],
        row["ranked_in"],
        row["untranscribed"],
        row["waits_for"],
    )


TIMELINE_COLUMNS = (
    *("n_ticks", "fps", "width", "height", "duration_s", "decoder", "damage"),
    *("codec", "source_width", "source_height", "source_fps", "fetch_seconds", "decode_seconds"),
    *("unused", "sound_damage", "source_timecode", "source_rate"),
)
"""What describes a timeline; null for a rejected video."""
