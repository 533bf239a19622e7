"""Which windows are worth a close look: the best ones that do not repeat each other."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
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
    scored: Sequence[ScoredWindow], *, count: int, max_overlap: Decimal, rank_all: bool = False
) -> list[ScoredWindow]:
    """Mark the best `count` windows as candidates, greedily from the strongest, in the given order.

    Of two windows whose cuts overlap more than `max_overlap`, the weaker is suppressed, and names the window
    that suppressed it. Equal scores go to the earlier, then the shorter window. Once `count` windows are
    chosen, the rest are below the cut: they are neither chosen nor suppressed.

    A candidate has its place among the chosen as `pack_rank`. With `rank_all`, so has every window that a
    larger `count` would choose. Where there are windows that were `analysed_before`, the best of those that a
    window would suppress is chosen in its place: the deep model need not look again.
    """
    marked, place = list(scored), 0
    for i, stronger in packed(scored, max_overlap=max_overlap, stand_ins_until=count):
        if place >= count and not rank_all:
            break
        if stronger is None:
            place += 1
            marked[i] = replace(scored[i], is_candidate=place <= count, pack_rank=place)
        elif place < count:
            marked[i] = replace(scored[i], suppressed_by=stronger)
    return marked


def packed(
    scored: Sequence[ScoredWindow], *, max_overlap: Decimal, stand_ins_until: int = 0
) -> Iterator[tuple[int, Window | None]]:
    """Each window's number, from the strongest down, and the stronger chosen one that it overlaps too much.

    Where there is none, the window is chosen. (Greedy temporal non-maximum suppression, as in Neubeck & Van
    Gool 2006, on intervals.) For the first `stand_ins_until` that are chosen, a window that was
    `analysed_before` stands in where there is one: it comes right after the window that it suppresses.
    """
    stretches = [stretch_of(item) for item in scored]
    longest = max((end - start for start, end in stretches), default=0)
    order = sorted(range(len(scored)), key=lambda i: (-scored[i].score, scored[i].window))
    analysed = [i for i in order if scored[i].analysed_before]
    chosen: list[tuple[int, int, int]] = []  # start, place in `order`, number: by start
    stand_ins: set[int] = set()

    def repeats(i: int, other: int) -> bool:
        return overlaps_more_than(stretches[i], stretches[other], max_overlap)

    def repeated_by(i: int) -> int | None:
        start, end = stretches[i]
        near = chosen[bisect_left(chosen, (start - longest,)) : bisect_left(chosen, (end,))]
        return min(((before, other) for _, before, other in near if repeats(i, other)), default=(0, None))[1]

    for place, i in enumerate(order):
        if i in stand_ins:
            continue
        stronger = repeated_by(i)
        if stronger is None and len(chosen) < stand_ins_until and not scored[i].analysed_before:
            free = (other for other in analysed if repeats(i, other) and repeated_by(other) is None)
            if (stand_in := next(free, None)) is not None:
                yield i, scored[stand_in].window
                stand_ins.add(stand_in)
                i = stand_in
        if stronger is None:
            insort(chosen, (stretches[i][0], place, i))
        yield i, None if stronger is None else scored[stronger].window
