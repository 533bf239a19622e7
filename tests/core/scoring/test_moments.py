"""Ranked segments that show the same are one moment, and nothing else about them changes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Analysis, Segment, Window
from tasks.core.scoring.moments import containment_above, with_moments
from tasks.core.scoring.window_cuts import stretch_of

HALF = Decimal("0.5")
Spans = list[tuple[int, int]]


def ranked(spans: Spans) -> list[Segment]:
    """Segments in the order of their ranks."""
    skipped = Analysis.skipped("disabled")
    return [Segment(Window(*span), 90 - k, 50, skipped, rank=k + 1) for k, span in enumerate(spans)]


def moments(spans: Spans, same_moment: Decimal = HALF) -> list[tuple[int | None, bool | None]]:
    found = with_moments(ranked(spans), same_moment=same_moment)
    return [(segment.moment, segment.best_of_moment) for segment in found]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 59), (3, 62), (100, 159)], [(1, True), (1, False), (2, True)]),
        ([(0, 10), (5, 15)], [(1, True), (2, True)]),  # half is not more than half
        ([(0, 10), (4, 14)], [(1, True), (1, False)]),
        ([(0, 59), (50, 58)], [(1, True), (1, False)]),  # a short one inside a long one
        ([(0, 10), (8, 18), (4, 14)], [(1, True), (1, False), (1, False)]),  # joined by the third
        (
            [(20, 30), (0, 10), (40, 50), (43, 53), (1, 11)],
            [(1, True), (2, True), (3, True), (3, False), (2, False)],
        ),
        ([], []),
    ],
)  # fmt: skip
def test_segments_that_contain_each_other_are_one_moment(
    spans: Spans, expected: list[tuple[int, bool]]
) -> None:
    assert moments(spans) == expected


def test_the_limit_is_a_setting_up_to_none_being_the_same() -> None:
    spans = [(0, 10), (1, 11), (9, 19)]
    assert [number for number, _ in moments(spans, Decimal(0))] == [1, 1, 1]
    assert [number for number, _ in moments(spans, Decimal("0.9"))] == [1, 2, 3]
    assert [number for number, _ in moments(spans, Decimal(1))] == [1, 2, 3]


SOME_SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), unique=True, max_size=12)


@given(SOME_SPANS, st.decimals(0, 1, places=2))
def test_moments_are_what_is_connected_and_numbered_by_their_best(
    drawn: list[tuple[int, int]], limit: Decimal
) -> None:
    segments = ranked([(start, start + length) for start, length in drawn])
    found = with_moments(segments, same_moment=limit)
    assert [replace(item, moment=None, best_of_moment=None) for item in found] == segments
    for a in found:
        for b in found:
            if a is not b and containment_above(stretch_of(a), stretch_of(b), limit):
                assert a.moment == b.moment
    best = [item.moment for item in found if item.best_of_moment]
    assert best == list(range(1, len(best) + 1))
    for number in best:
        members = [item for item in found if item.moment == number]
        assert [item.best_of_moment for item in members] == [True] + [False] * (len(members) - 1)
        reached = {members[0].window}
        for _ in members:
            reached |= {
                item.window
                for item in members
                if any(
                    containment_above(stretch_of(item), (other.start, other.end), limit) for other in reached
                )
            }
        assert reached == {item.window for item in members}
