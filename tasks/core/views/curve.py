"""The drawing of one video: its fast scores over time, and its ranked segments.

Times become percentages of the video's length, so that a drawing may be as wide as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tasks.core.records import FastKind, ScoredVideo, ScoredWindow

MAX_POINTS = 300
"""Points of a line; of more, the highest of each stretch is kept."""
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MAX_MARKS = 6

T = TypeVar("T")
Point = tuple[float, float]
"""Percent of the video's length, and a score 0-100."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The fast scores of a video: a line for each length of windows, each window at its middle.

    `candidates` are the windows that the deep model was shown.
    """

    lines: Sequence[Sequence[Point]]
    candidates: Sequence[Point]
    windows: int
    fast_kind: FastKind


def curve_of(scored: ScoredVideo) -> Curve:
    """The curve of a video that was just scored."""
    by_length: dict[int, list[Point]] = {}
    for item in scored.windows:
        by_length.setdefault(item.window.length, []).append(_point(item, scored))
    return Curve(
        lines=[thinned(sorted(points)) for _, points in sorted(by_length.items())],
        candidates=[_point(item, scored) for item in scored.candidates],
        windows=len(scored.windows),
        fast_kind=scored.fast_kind,
    )


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most `MAX_POINTS` of the points: the highest of each stretch, so that no peak is lost."""
    stretch = -(-len(points) // MAX_POINTS) or 1
    return [
        max(points[start : start + stretch], key=lambda point: point[1])
        for start in range(0, len(points), stretch)
    ]


def lanes(spans: Sequence[tuple[T, float, float]], duration_s: float) -> list[list[tuple[T, float, float]]]:
    """Spans `(what, start_s, end_s)` in as few rows as they fit without touching, as `(what, left, width)`.

    >>> lanes([("a", 0, 5), ("b", 3, 8), ("c", 5, 10)], 10)
    [[('a', 0.0, 50.0), ('c', 50.0, 50.0)], [('b', 30.0, 50.0)]]
    """
    rows: list[list[tuple[T, float, float]]] = []
    ends: list[float] = []
    for what, start_s, end_s in sorted(spans, key=lambda span: span[1:]):
        row = next((index for index, end in enumerate(ends) if end <= start_s), len(rows))
        if row == len(rows):
            rows.append([])
            ends.append(0.0)
        ends[row] = end_s
        left, right = _percent(start_s, duration_s), _percent(end_s, duration_s)
        rows[row].append((what, left, round(right - left, 2)))
    return rows


def time_marks(duration_s: float) -> list[tuple[float, float]]:
    """Round times to write under a drawing, as `(percent, seconds)`; the start is one.

    >>> time_marks(80)
    [(0.0, 0.0), (18.75, 15.0), (37.5, 30.0), (56.25, 45.0), (75.0, 60.0), (93.75, 75.0)]
    """
    step = next((step for step in STEPS_S if duration_s / step < MAX_MARKS), STEPS_S[-1])
    times = [float(at) for at in range(0, int(duration_s) + 1, step)]
    return [(_percent(at, duration_s), at) for at in times if at <= 0.95 * duration_s]


def _point(item: ScoredWindow, scored: ScoredVideo) -> Point:
    seconds = scored.timeline.seconds
    middle_s = (seconds(item.window.start) + seconds(item.window.end)) / 2
    return _percent(middle_s, scored.timeline.duration_s), float(item.score)


def _percent(seconds: float, duration_s: float) -> float:
    return round(100 * min(seconds, duration_s) / max(duration_s, 0.001), 2)
