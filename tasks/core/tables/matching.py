"""What is listed, compared with the library of the run before: both sorted by URI, some rows at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.records import Failure, VideoRef
from tasks.core.records.listed import ListedVideos
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import KEPT_DAYS, LibraryEntry, read_library
from tasks.core.tables.reuse import PreviousRun
from tasks.core.tables.run_ranking import with_column
from tasks.core.tables.schemas import LIBRARY, upgraded

Mask = npt.NDArray[np.bool_]
"""Which rows."""


@dataclass(slots=True)
class Matches:
    """The listed videos by what is known of them.

    `settled` counts those that keep their rows as they are; `damaged` are the entries of those of them of
    whose file something is missing. `scored` ones have stored scores, `refused` ones are rejected as before,
    all others are `to_open`. `waiting` counts the settled ones that must be opened for a newer head: their
    ranks are by an earlier one. `gone` are the URIs in the ranking of the run before that are not settled.
    """

    to_open: list[VideoRef] = field(default_factory=list)
    settled: int = 0
    waiting: int = 0
    damaged: list[LibraryEntry] = field(default_factory=list)
    scored: list[LibraryEntry] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)
    gone: list[pa.Array] = field(default_factory=list)


def match_videos(
    videos: Sequence[VideoRef],
    previous: PreviousRun,
    digests: Digests,
    *,
    today: date,
    at_any_size: bool = False,
    rescore: bool = False,
    most_reopened: int = 0,
    also_listed: Iterable[str] = (),
    again: pa.Array | None = None,
    keep: Callable[[pa.Table], object],
) -> Matches:
    """Compare the videos with what is remembered.

    `at_any_size`: the size that frames should have is not known, so any size counts as the same. `rescore`:
    nothing that is listed counts as known. Of the videos that wait for a newer head
    `most_reopened` have their turn. `also_listed` are labels that are listed and cannot be used.
    The videos of `again` are to be ranked again.
    `keep` gets the rows of the library that stay in it as they pass: of settled and refused videos, with
    `today` as the day they were last listed, and for `KEPT_DAYS` those of videos that are not listed.
    """
    found = Matches()
    listed = videos if isinstance(videos, ListedVideos) else ListedVideos.of(videos)
    # A URI that is not valid text matches nothing: its escaped form may be the name of another video.
    labels = _texts(video.label for video in listed.odd)
    how = (digests, today, at_any_size, rescore, most_reopened)
    matcher = _Matcher(previous, *how, labels, _texts(also_listed), _texts(()) if again is None else again)
    ranked = _texts(()) if previous.ranked is None else previous.ranked
    at = ranked_at = 0
    for table in filter(len, previous.library(None)):
        library = upgraded(table, LIBRARY)
        last = library["video_uri"][-1].as_py()
        end = bisect_right(listed.table["uri"], last, lo=at, key=_text)
        ranked_end = bisect_right(ranked, last, lo=ranked_at, key=_text)
        between = listed.table.slice(at, end - at).combine_chunks()
        keep(matcher.match(library, between, ranked[ranked_at:ranked_end], found))
        at, ranked_at = end, ranked_end
    found.to_open += listed[at:]
    found.gone.append(ranked[ranked_at:])
    return found


@dataclass(slots=True)
class _Matcher:
    previous: PreviousRun
    digests: Digests
    today: date
    at_any_size: bool
    rescore: bool
    turns: int
    odd: pa.Array
    also_listed: pa.Array
    again: pa.Array

    def match(self, library: pa.Table, listed: pa.Table, ranked: pa.Array, found: Matches) -> pa.Table:
        """Compare some rows of the library with what is listed between them; returns the rows that stay."""
        uris, place = library["video_uri"], pc.index_in(library["video_uri"], value_set=listed["uri"])
        now = listed.take(place)
        is_ranked = _mask(pc.equal(library["status"], "ranked"))
        # Rows of two videos with one label cannot be told apart: neither keeps them.
        version = self._same_version(library, now) & ~_mask(pc.is_in(uris, self.odd))
        holds, embedded = version & self._same_outcome(library), version & self._same_embeddings(library)
        complete = _mask(pc.is_in(uris, ranked)) & _is_complete(library) & ~_mask(pc.is_in(uris, self.again))
        waiting = self._without_turn(embedded & ~holds & complete & self._waits(library))
        settled = (holds & is_ranked & complete) | waiting
        scored = ((holds & is_ranked) | embedded) & ~settled
        refused = holds & ~is_ranked & _mask(pc.is_in(uris, _texts(self.previous.refusals)))

        known = np.zeros(len(listed), np.bool_)
        known[place.to_numpy()[settled | scored | refused].astype(np.int64)] = True
        found.to_open += ListedVideos(listed.filter(pa.array(~known)))
        found.settled += int(settled.sum())
        found.waiting += int(waiting.sum())
        found.damaged += _entries(library, settled & _is_damaged(library))
        asked = now.filter(pa.array(scored | refused))
        videos = {video.uri: video for video in ListedVideos(asked)}
        found.scored += [
            replace(entry, video=videos[entry.video.uri], last_listed=self.today)
            for entry in _entries(library, scored)
        ]
        found.refused += [
            replace(self.previous.refusals[uri], video=videos[uri])
            for uri in uris.filter(pa.array(refused)).to_pylist()
        ]
        found.gone.append(ranked.filter(pc.invert(pc.is_in(ranked, uris.filter(pa.array(settled))))))

        modified = pc.coalesce(now["modified_at"], library["last_modified"])
        modified = pc.if_else(pa.array(settled), modified, library["last_modified"])
        library = with_column(library, "last_modified", modified)
        is_listed = _mask(pc.is_valid(place)) | _mask(pc.is_in(uris, self.odd))
        return self._kept(library, seen=settled | refused, unlisted=~is_listed)

    def _same_version(self, library: pa.Table, now: pa.Table) -> Mask:
        """Which rows are of the version that is listed now, decoded to the size that is wanted now."""
        if self.rescore:
            return np.zeros(len(library), np.bool_)
        same = _mask(pc.equal(library["video_etag"], now["etag"]))
        if not self.at_any_size:
            same &= _mask(pc.equal(library["frame_budget"], self.digests.frame_budget))
        return same & _mask(pc.equal(library["size_bytes"], now["size_bytes"]))

    def _same_outcome(self, library: pa.Table) -> Mask:
        """Which rows have the scores, or the refusal, that these settings and models give."""
        is_ranked = pc.equal(library["status"], "ranked")
        digest = pc.if_else(is_ranked, library["scoring_digest"], library["rejecting_digest"])
        asked = pc.if_else(is_ranked, self.digests.scoring, self.digests.rejecting)
        return _mask(pc.equal(digest, asked))

    def _same_embeddings(self, library: pa.Table) -> Mask:
        """Which ranked rows have windows whose embeddings are those that these settings and models give."""
        # Earlier versions did not say, but by salience this is the digest of scores.
        digest = pc.coalesce(library["embedding_digest"], library["scoring_digest"])
        same = pc.equal(digest, pa.scalar(self.digests.embedding, pa.string()))
        return _mask(pc.and_(same, pc.equal(library["status"], "ranked")))

    def _waits(self, library: pa.Table) -> Mask:
        """Which rows are known to need a look at their video before these scores are theirs."""
        return _mask(pc.equal(library["waits_for"], self.digests.scoring))

    def _without_turn(self, waiting: Mask) -> Mask:
        """Those that go on waiting, when some have had their turn: the first by name."""
        late = waiting & (np.cumsum(waiting) > self.turns)
        self.turns -= int(waiting.sum() - late.sum())
        return late

    def _kept(self, library: pa.Table, *, seen: Mask, unlisted: Mask) -> pa.Table:
        oldest = pa.scalar(self.today - timedelta(days=KEPT_DAYS))
        remembered = unlisted & _mask(pc.greater_equal(library["last_listed"], oldest))
        day = pc.if_else(pa.array(seen), pa.scalar(self.today), library["last_listed"])
        listed = seen | _mask(pc.is_in(library["video_uri"], self.also_listed))
        library = with_column(with_column(library, "last_listed", day), "listed", pa.array(listed))
        return library.filter(pa.array(seen | remembered))


def _is_complete(library: pa.Table) -> Mask:
    """Of which rows nothing is worth another try."""
    return _mask(pc.equal(library["unanswered"], 0)) & ~_mask(library["untranscribed"])


def _is_damaged(library: pa.Table) -> Mask:
    notes = [_mask(pc.is_valid(library[name])) for name in ("damage", "unused", "sound_damage")]
    return np.asarray(np.logical_or.reduce(notes))


def _entries(library: pa.Table, mask: Mask) -> Iterable[LibraryEntry]:
    return read_library(library.filter(pa.array(mask))).values() if mask.any() else ()


def _mask(column: pa.ChunkedArray | pa.Array) -> Mask:
    return np.asarray(pc.fill_null(column, fill_value=False).to_numpy(zero_copy_only=False), np.bool_)


def _text(value: pa.StringScalar) -> str:
    return str(value.as_py())


def _texts(texts: Iterable[str]) -> pa.Array:
    return pa.array(list(texts), pa.string())
