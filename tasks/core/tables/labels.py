"""Labels, the decisions of editors about moments: checked row by row, and matched with the windows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.core.errors import SettingsError
from tasks.core.names import composed
from tasks.core.tables.library import LibraryEntry
from tasks.core.tables.schemas import LABELS

TOLERANCE_S = 0.05
"""How far the times of a label may lie from those of its window: they may have been rounded to a tenth."""

MAX_ERRORS = 20
"""Wrong rows that an error names."""

REQUIRED = ("video_uri", "start", "end", "verdict")

MIN_IOU = 0.5
"""Temporal intersection over union from which a label of other times is one of a window."""

Match = Literal["ranked", "window", "overlap", "no_window", "other_version", "no_video"]
"""What a label was matched with: a ranked segment, another window, one that it overlaps, or nothing; why."""

Span = tuple[float, float]

Spans = Mapping[str, Sequence[Span]]
"""Start and end of segments in seconds, by video."""


class Label(BaseModel):
    """One segment, and what editors decided about it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    video_uri: str = Field(min_length=1)
    video_etag: str | None = None
    start: float = Field(ge=0)
    end: float
    verdict: Literal["published", "rejected"]
    views: int | None = Field(None, ge=0)
    labelled_on: date | None = None

    @field_validator("verdict", mode="before")
    @classmethod
    def _in_any_case(cls, verdict: object) -> object:
        return verdict.strip().lower() if isinstance(verdict, str) else verdict

    @field_validator("start", "end", mode="before")
    @classmethod
    def _with_a_decimal_comma(cls, seconds: object) -> object:
        return seconds.replace(",", ".") if isinstance(seconds, str) else seconds

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end {self.end} is not after start {self.start}: give both in seconds")
        if self.verdict == "rejected" and self.views is not None:
            raise ValueError(f"views {self.views} of a rejected segment: leave them out, or write published")
        return self

    @property
    def segment(self) -> tuple[str, float, float]:
        return self.video_uri, self.start, self.end


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label, its match, and the run whose windows have it. Its times are those of the window.

    Where they were others, `given` has those of the file, and `iou` says how much both have in common.
    `nearest` is the window that comes nearest to a label without one.
    """

    label: Label
    match: Match
    scored_in: str | None = None
    given: Span | None = None
    iou: float | None = None
    nearest: Span | None = None


def checked_labels(rows: Iterable[Mapping[str, Any]], *, name: str) -> list[Label]:
    """The labels of a file; rows with neither verdict nor views have not been labelled yet, and are left out.
    Two versions of a video have segments of their own.

    Other columns are ignored: an export with an added column `verdict` is enough. Letter case counts
    neither in the names of columns nor in verdicts.

    Raises:
        SettingsError: a column is missing, or a row is wrong: it says which, what is there, and what to
            write instead.
    """
    labels: dict[Hashable, tuple[int, Label]] = {}
    wrong: list[str] = []
    for number, values in enumerate(rows, start=1):
        row = {str(column).strip().lower(): value for column, value in values.items()}
        if missing := [column for column in REQUIRED if column not in row]:
            raise SettingsError(
                f"{name} has no column {', '.join(missing)}: the columns are {', '.join(Label.model_fields)}"
            )
        given = {column: None if row[column] == "" else row[column] for column in row}
        if given["verdict"] is given.get("views") is None:
            continue
        try:
            label = Label.model_validate(given)
        except ValidationError as error:
            wrong += [f"{name}, row {number}: {_wrong(item)}" for item in error.errors()]
            continue
        first, _ = labels.setdefault((label.segment, label.video_etag), (number, label))
        if first != number:
            wrong.append(f"{name}, row {number}: the segment of row {first} again: keep one of both")
    if wrong:
        more = [f"... and {len(wrong) - MAX_ERRORS} more"] if len(wrong) > MAX_ERRORS else []
        raise SettingsError("\n".join([*wrong[:MAX_ERRORS], *more]))
    return [label for _, label in labels.values()]


def as_stored(labels: Iterable[Label], uris: Iterable[str], *, name: str) -> list[Label]:
    """The labels of a file with the URIs as they are stored: names compare in their composed form.

    Raises:
        SettingsError: two labels are of the same segment then.
    """
    stored: dict[str, list[str]] = {}
    for uri in uris:
        stored.setdefault(composed(uri), []).append(uri)
    found: dict[Hashable, Label] = {}
    for label in labels:
        forms = stored.get(composed(label.video_uri), [])
        if label.video_uri not in forms and len(forms) == 1:
            label = label.model_copy(update={"video_uri": forms[0]})
        key = label.segment, label.video_etag
        if key in found:
            raise SettingsError(f"{name}: the segment {label.segment} is there twice: keep one of both")
        found[key] = label
    return list(found.values())


def under_current_names(
    labels: Iterable[Label], entries: Mapping[str, LibraryEntry], ranked: Mapping[str, str]
) -> Iterator[Label]:
    """The labels, with the current name of each video that has been renamed since it was labelled.

    `ranked` has the ETag of each video of the newest ranking, by URI. The same version under another name is
    the same video.
    """
    names = {etag: uri for uri, etag in sorted(ranked.items(), reverse=True)}
    for label in labels:
        entry = entries.get(label.video_uri)
        etag = label.video_etag or (entry.video.etag if entry else "")
        if label.video_uri not in ranked and etag in names:
            label = label.model_copy(update={"video_uri": names[etag], "video_etag": etag})
        yield label


def matched(
    labels: Iterable[Label],
    entries: Mapping[str, LibraryEntry],
    *,
    ranked: Spans,
    windows: Spans,
    taken: Iterable[tuple[str, Span]] = (),
) -> Iterator[Labelled]:
    """Match each label with the library, then the ranking, then the windows of its video, by their times.

    A label of other times, such as an editor's final cut, is matched with the window that it overlaps most,
    from `MIN_IOU` on, if no other label is of that window: `taken` are those that have one.
    """
    free: list[Label] = []
    taken = set(taken)
    for label in labels:
        entry = entries.get(label.video_uri)
        if entry is None or entry.timeline is None:
            yield Labelled(label, "no_video")
        elif label.video_etag not in (None, entry.video.etag):
            yield Labelled(label, "other_version")
        else:
            found = label.model_copy(update={"video_etag": entry.video.etag})
            in_ranking, in_windows = _near(found, ranked), _near(found, windows)
            if start_end := in_ranking or in_windows:
                taken.add((label.video_uri, start_end))
                exact = found.model_copy(update=dict(zip(("start", "end"), start_end, strict=True)))
                yield Labelled(exact, "ranked" if in_ranking else "window", entry.scored_in)
            else:
                free.append(found)
    for item in _by_overlap(free, windows, taken):
        scored_in = entries[item.label.video_uri].scored_in if item.match == "overlap" else None
        yield replace(item, scored_in=scored_in)


def labels_table(labelled: Iterable[Labelled], *, imported_at: datetime) -> pa.Table:
    """One row a label, by video and start; of another version of the video after the one that was scored."""
    rows = [
        {
            **item.label.model_dump(),
            "match": item.match,
            "scored_in": item.scored_in,
            "given_start": item.given and item.given[0],
            "given_end": item.given and item.given[1],
            "iou": item.iou,
            "imported_at": imported_at,
        }
        for item in sorted(labelled, key=lambda item: (item.label.segment, item.match == "other_version"))
    ]
    return pa.Table.from_pylist(rows, schema=LABELS)


def newest(table: pa.Table, key: Sequence[str] = ("video_uri", "start", "end")) -> pa.Table:
    """Of several imports, the newest row of each `key`, in its order; a label's is its segment."""
    order = [(name, "ascending") for name in key]
    table = table.take(pc.sort_indices(table, sort_keys=[*order, ("imported_at", "descending")]))
    keys = list(zip(*(table[name].to_pylist() for name in key), strict=True))
    first = [number == 0 or keys[number - 1] != each for number, each in enumerate(keys)]
    return table.filter(pa.array(first, pa.bool_()))


def _wrong(item: Any) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return str(message)
    return f"{item['loc'][0]} is {item['input']!r}: {message[0].lower()}{message[1:]}"


def _near(label: Label, spans: Spans) -> tuple[float, float] | None:
    """The segment with the label's times, which may be rounded."""

    def off_by(span: tuple[float, float]) -> float:
        return max(abs(span[0] - label.start), abs(span[1] - label.end))

    nearest = min(spans.get(label.video_uri, ()), key=off_by, default=None)
    return nearest if nearest and off_by(nearest) <= TOLERANCE_S + 1e-9 else None


def _by_overlap(labels: Sequence[Label], windows: Spans, taken: set[tuple[str, Span]]) -> Iterator[Labelled]:
    """Labels with the windows that they overlap most, each window once; what overlaps most comes first."""
    pairs = sorted(
        (-overlap, number, window)
        for number, label in enumerate(labels)
        for window in windows.get(label.video_uri, ())
        if (overlap := iou((label.start, label.end), window)) >= MIN_IOU
    )
    found: dict[int, tuple[Span, float]] = {}
    for overlap, number, window in pairs:
        place = (labels[number].video_uri, window)
        if number not in found and place not in taken:
            taken.add(place)
            found[number] = window, -overlap
    for number, label in enumerate(labels):
        given = (label.start, label.end)
        if number in found:
            window, overlap = found[number]
            exact = label.model_copy(update=dict(zip(("start", "end"), window, strict=True)))
            yield Labelled(exact, "overlap", given=given, iou=overlap)
        else:
            yield Labelled(label, "no_window", nearest=nearest_to(given, windows.get(label.video_uri, ())))


def iou(a: Span, b: Span) -> float:
    """Temporal intersection over union of two spans.

    >>> iou((0, 10), (5, 15)), iou((0, 10), (20, 30))
    (0.3333333333333333, 0.0)
    """
    common = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return common / (a[1] - a[0] + b[1] - b[0] - common)


def nearest_to(span: Span, windows: Iterable[Span]) -> Span | None:
    """The window that overlaps a span most; of those that do not, the one whose middle is nearest."""
    return min(windows, key=lambda w: (-iou(span, w), abs(span[0] + span[1] - w[0] - w[1])), default=None)
