"""Ranked segments that show the same moment: of windows every few seconds, most neighbours do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tasks.core.records import Segment
from tasks.core.scoring.window_cuts import stretch_of
from tasks.core.speech.spans import Span


def containment_above(a: Span, b: Span, limit: Decimal) -> bool:
    """Whether two stretches share more than this part of the shorter one, exactly.

    >>> containment_above((0, 8), (4, 20), Decimal("0.5"))
    False
    >>> containment_above((0, 8), (3, 20), Decimal("0.5"))
    True
    """
    return min(a[1], b[1]) - max(a[0], b[0]) > limit * min(a[1] - a[0], b[1] - b[0])


def with_moments(ranked: Sequence[Segment], *, same_moment: Decimal) -> list[Segment]:
    """The ranked segments of one video, best first, with the moment that each belongs to.

    Segments are of one moment if they are connected by overlaps whose containment is above `same_moment`.
    Moments are numbered from 1 in the order of their best segments.
    """
    best: list[int] = []  # for each segment, where the best of its moment stands
    for position, segment in enumerate(ranked):
        touched = {
            best[earlier]
            for earlier in range(position)
            if containment_above(stretch_of(segment), stretch_of(ranked[earlier]), same_moment)
        }
        first = min(touched, default=position)
        best = [first if other in touched else other for other in best] + [first]
    numbers = {position: number for number, position in enumerate(sorted(set(best)), start=1)}
    return [
        replace(segment, moment=numbers[first], best_of_moment=first == position)
        for position, (segment, first) in enumerate(zip(ranked, best, strict=True))
    ]
