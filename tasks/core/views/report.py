"""The content of a run's report: the published rows by video and moment, and what is drawn of them.

Only the curve of fast scores is not from the published tables: it is known for the videos scored in this run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.manifest import Manifest
from tasks.core.uris import name_in
from tasks.core.views.cards import Card, Sheet, ShownMoment, anchor, in_output, moments_of, source_link
from tasks.core.views.curve import Curve, lanes, time_marks

MAX_VIDEOS = 500
"""Videos on the page; of a larger library, those scored in this run come first, then the best."""
MAX_FAILURES = 500
BEST = 10
"""Moments of the whole run that are named at the top."""
PICTURE_BYTES = 8_000_000
"""Size of all contact sheets in the page; moments without a sheet link to their thumbnail."""
BINS = 10
MAX_SCORE = 100


@dataclass(slots=True)
class Video:
    """One video: its moments, best first, their bars on its time line, and the curve where it is known.

    `earlier` links to the same video in the report of the run that scored it, `edit_list` to its timeline for
    editing programs.
    """

    name: str
    uri: str
    etag: str
    duration_s: float
    moments: Sequence[ShownMoment]
    curve: Curve | None = None
    earlier: str | None = None
    edit_list: str | None = None
    bars: Sequence[Sequence[tuple[Card, float, float]]] = ()
    marks: Sequence[tuple[float, float]] = ()

    @property
    def anchor(self) -> str:
        return anchor(self.uri)

    @property
    def version(self) -> str:
        """Its URI and ETag as they are, to the last invisible character: verdicts are about this version."""
        return json.dumps([self.uri, self.etag])

    @property
    def best(self) -> int:
        score: int = self.moments[0].best.row["score"]
        return score

    @property
    def cards(self) -> list[Card]:
        """All cards, the best of each moment first."""
        return [card for moment in self.moments for card in (moment.best, *moment.alternatives)]


@dataclass(slots=True)
class Report:
    """All that is on the page, under the URI `output`."""

    run: Manifest
    output: str
    videos: Sequence[Video]
    best: Sequence[Card]
    moments: int
    bins: Sequence[int]
    failures: Sequence[Mapping[str, Any]]
    videos_left_out: int = 0
    failures_left_out: int = 0
    names: Mapping[str, str] = field(default_factory=dict)


class ShownRows:
    """What the page shows of a ranking, collected while its rows pass, the best of the run first.

    The videos of `first` come before all others; with them, at most `MAX_VIDEOS` are shown.
    """

    def __init__(self, first: Sequence[str] = ()) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.videos, self.moments = 0, 0
        self._uris = dict.fromkeys(first[:MAX_VIDEOS])
        self._scores = np.zeros(MAX_SCORE + 1, np.int64)

    def passing(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same rows, looked at as they pass."""
        for table in tables:
            self._add(table)
            yield table

    def _add(self, table: pa.Table) -> None:
        if len(self._uris) < MAX_VIDEOS:
            originals = table["video_uri"].filter(pc.is_null(table["duplicate_of"]))
            self._uris |= dict.fromkeys(originals.unique().to_pylist())
            self._uris = dict.fromkeys(islice(self._uris, MAX_VIDEOS))
        shown = pc.is_in(table["video_uri"], pa.array(list(self._uris), pa.string()))
        self.rows += table.filter(shown).to_pylist()
        self.videos += _count(pc.equal(table["rank"], 1))
        self.moments += len(table) - _count(pc.invert(table["best_of_moment"]))
        self._scores += np.bincount(table["score"].to_numpy(), minlength=MAX_SCORE + 1)

    @property
    def bins(self) -> list[int]:
        return histogram(self._scores.tolist())


def build_report(
    run: Manifest,
    shown: ShownRows,
    failures: pa.Table,
    *,
    curves: Mapping[str, Curve],
    library: Mapping[str, Mapping[str, Any]],
    sheet_of: Callable[[Mapping[str, Any]], Sheet | None],
    output: str,
) -> Report:
    """Sort the published rows into what the page shows.

    `curves` are of the videos scored in this run, `library` has the rows of all, both by the URI in the rows;
    `sheet_of` finds a row's contact sheet.
    """
    by_video: dict[str, list[Mapping[str, Any]]] = {}
    for row in shown.rows:
        by_video.setdefault(row["video_uri"], []).append(row)
    videos = [
        _video(uri, segments, run, curve=curves.get(uri), about=library.get(uri, {}))
        for uri, segments in by_video.items()
    ]
    _put_in_sheets([card for video in videos for card in video.cards], sheet_of)
    best = [moment.best for video in videos for moment in video.moments if not moment.best.copy_of]
    return Report(
        run=run,
        output=output,
        videos=videos,
        best=sorted(best, key=lambda card: int(card.row["run_rank"]))[:BEST],
        moments=shown.moments,
        bins=shown.bins,
        failures=failures.slice(0, MAX_FAILURES).to_pylist(),
        videos_left_out=shown.videos - len(videos),
        failures_left_out=max(0, len(failures) - MAX_FAILURES),
        names={uri: name_in(uri, run.source) for uri in by_video},
    )


def histogram(scores: Sequence[int]) -> list[int]:
    """How many rows are in each of `BINS` equal parts of 0-100, of the numbers of rows with each score.

    100 belongs to the last part.

    >>> histogram([1] * 101)
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 11]
    """
    counts = [0] * BINS
    for score, count in enumerate(scores):
        counts[min(score * BINS // MAX_SCORE, BINS - 1)] += count
    return counts


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0


def _video(
    uri: str,
    rows: Sequence[Mapping[str, Any]],
    run: Manifest,
    *,
    curve: Curve | None,
    about: Mapping[str, Any],
) -> Video:
    found = source_link(uri, source=run.source, media_base=run.settings["publish"]["media_base"])
    cards = [
        Card(
            row,
            clip=in_output(row["clip_uri"]),
            thumbnail=in_output(row["thumbnail_uri"]),
            source=found,
            fps=about.get("source_rate") or about.get("source_fps"),
            copy_of=name_in(original["video_uri"], run.source) if (original := row["duplicate_of"]) else None,
            timecode=about.get("source_timecode"),
        )
        for row in sorted(rows, key=lambda row: int(row["rank"]))
    ]
    duration_s = float(rows[0]["video_duration"])
    spans = [(card, card.start_s, card.end_s) for card in cards]
    scored_in = about.get("scored_in") or run.run_id
    return Video(
        name=name_in(uri, run.source),
        uri=uri,
        etag=rows[0]["video_etag"],
        duration_s=duration_s,
        moments=moments_of(cards),
        curve=curve,
        earlier=None if scored_in == run.run_id else f"../{quote(scored_in)}/index.html#{anchor(uri)}",
        edit_list=in_output(rows[0]["timeline_uri"]),
        bars=lanes(spans, duration_s),
        marks=time_marks(duration_s),
    )


def _put_in_sheets(cards: Sequence[Card], sheet_of: Callable[[Mapping[str, Any]], Sheet | None]) -> None:
    """The best of each video first, so that none is without a sheet while another has many.

    Alternatives, which are folded away, come last.
    """

    def order(card: Card) -> tuple[bool, int, int]:
        return card.row["best_of_moment"] is False, int(card.row["rank"]), int(card.row["run_rank"])

    left = PICTURE_BYTES
    for card in sorted(cards, key=order):
        sheet = sheet_of(card.row)
        if sheet and len(sheet.image) <= left:
            card.sheet = sheet
            left -= len(sheet.image)
