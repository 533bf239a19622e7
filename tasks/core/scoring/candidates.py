"""Which windows are worth a close look: the best ones that do not repeat each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tasks.core.records import ScoredWindow, Window
from tasks.core.scoring.window_cuts import stretch_of
from tasks.core.speech.spans import Span


def overlaps_more_than(a: Span, b: Span, limit: Decimal) -> bool:
    """Whether the temporal intersection over union of two stretches is above `limit`, exactly.

    >>> overlaps_more_than((0, 8), (2, 10), Decimal("0.6"))  # IoU = 6 / 10
    False
    >>> overlaps_more_than((0, 8), (2, 10), Decimal("0.59"))
    True
    """
    intersection = min(a[1], b[1]) - max(a[0], b[0])
    if intersection <= 0:
        return False
    union = a[1] - a[0] + b[1] - b[0] - intersection
    return intersection > limit * union


def choose_candidates(
    scored: Sequence[ScoredWindow], *, count: int, max_overlap: Decimal
) -> list[ScoredWindow]:
    """Mark the best `count` windows as candidates, greedily from the strongest, in the given order.

    Of two windows whose cuts overlap more than `max_overlap`, the weaker is suppressed, and names the window
    that suppressed it. Equal scores go to the earlier, then the shorter window. Once `count` windows are
    chosen, the rest are below the cut: they are neither chosen nor suppressed. (Greedy temporal
    non-maximum suppression, as in Neubeck & Van Gool 2006, on intervals.)
    """
    order = sorted(range(len(scored)), key=lambda i: (-scored[i].score, scored[i].window))
    marked = list(scored)
    chosen: list[tuple[Window, Span]] = []
    for i in order:
        if len(chosen) == count:
            break
        stretch = stretch_of(scored[i])
        stronger = next((c for c, other in chosen if overlaps_more_than(stretch, other, max_overlap)), None)
        if stronger is None:
            chosen.append((scored[i].window, stretch))
            marked[i] = replace(scored[i], is_candidate=True)
        else:
            marked[i] = replace(scored[i], suppressed_by=stronger)
    return marked
