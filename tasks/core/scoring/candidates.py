"""Which windows are worth a close look: the best ones that do not repeat each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tasks.core.records import ScoredWindow, Window


def overlaps_more_than(a: Window, b: Window, limit: Decimal) -> bool:
    """Whether the temporal intersection over union of two windows is above `limit`, exactly.

    >>> overlaps_more_than(Window(0, 8), Window(2, 10), Decimal("0.6"))  # IoU = 6 / 10
    False
    >>> overlaps_more_than(Window(0, 8), Window(2, 10), Decimal("0.59"))
    True
    """
    intersection = min(a.end, b.end) - max(a.start, b.start)
    if intersection <= 0:
        return False
    union = a.length + b.length - intersection
    return intersection > limit * union


def choose_candidates(
    scored: Sequence[ScoredWindow], *, count: int, max_overlap: Decimal
) -> list[ScoredWindow]:
    """Mark the best `count` windows as candidates, greedily from the strongest, in the given order.

    Of two windows that overlap more than `max_overlap`, the weaker is suppressed, and names the window
    that suppressed it. Equal scores go to the earlier, then the shorter window. Once `count` windows are
    chosen, the rest are below the cut: they are neither chosen nor suppressed. (Greedy temporal
    non-maximum suppression, as in Neubeck & Van Gool 2006, on intervals.)
    """
    order = sorted(range(len(scored)), key=lambda i: (-scored[i].score, scored[i].window))
    marked = list(scored)
    chosen: list[Window] = []
    for i in order:
        if len(chosen) == count:
            break
        window = scored[i].window
        stronger = next((c for c in chosen if overlaps_more_than(window, c, max_overlap)), None)
        if stronger is None:
            chosen.append(window)
            marked[i] = replace(scored[i], is_candidate=True)
        else:
            marked[i] = replace(scored[i], suppressed_by=stronger)
    return marked
