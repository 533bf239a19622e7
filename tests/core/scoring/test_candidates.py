"""The best windows become candidates; those that repeat a stronger one are suppressed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import ScoredWindow, Window
from tasks.core.scoring.candidates import choose_candidates, overlaps_more_than
from tasks.core.speech.cuts import Cut

DEFAULT = Decimal("0.75")


def scored(*rows: tuple[int, int, int]) -> list[ScoredWindow]:
    return [ScoredWindow(Window(start, end), score) for start, end, score in rows]


def span(window: Window) -> tuple[int, int]:
    return window.start, window.end


def candidates(marked: list[ScoredWindow]) -> list[int]:
    return [item.window.start for item in marked if item.is_candidate]


def test_overlap_equals_the_intersection_over_union_of_the_ticks_exhaustively() -> None:
    small = [Window(a, b) for a, b in product(range(7), repeat=2) if a < b]
    limits = [Decimal(tenth) / 20 for tenth in range(21)]
    for a, b in product(small, repeat=2):
        ticks_a, ticks_b = set(range(a.start, a.end)), set(range(b.start, b.end))
        iou = Fraction(len(ticks_a & ticks_b), len(ticks_a | ticks_b))
        for limit in limits:
            assert overlaps_more_than(span(a), span(b), limit) == (iou > Fraction(limit)), (a, b, limit)


def test_the_weaker_of_two_close_windows_names_the_one_that_suppressed_it() -> None:
    marked = choose_candidates(
        scored((0, 59, 50), (3, 62, 90), (6, 65, 70), (60, 119, 10)), count=4, max_overlap=DEFAULT
    )
    assert candidates(marked) == [3, 60]
    assert [item.suppressed_by for item in marked] == [Window(3, 62), None, Window(3, 62), None]


def test_default_overlap_keeps_windows_nine_seconds_apart() -> None:
    # 59 s windows 9 s apart share 50 of 68 s: 0.735; 6 s apart 53 of 65 s: 0.815.
    marked = choose_candidates(scored((0, 59, 90), (6, 65, 80), (9, 68, 70)), count=3, max_overlap=DEFAULT)
    assert candidates(marked) == [0, 9]


def test_overlap_of_one_keeps_everything() -> None:
    marked = choose_candidates(scored((0, 5, 1), (0, 5, 2), (1, 6, 3)), count=3, max_overlap=Decimal(1))
    assert len(candidates(marked)) == 3


def test_overlap_of_zero_keeps_only_windows_that_do_not_touch() -> None:
    marked = choose_candidates(scored((0, 5, 3), (4, 9, 2), (5, 10, 1)), count=3, max_overlap=Decimal(0))
    assert candidates(marked) == [0, 5]


def test_equal_scores_go_to_the_earlier_then_the_shorter_window() -> None:
    marked = choose_candidates(
        scored((10, 20, 50), (0, 12, 50), (0, 10, 50)), count=1, max_overlap=Decimal(1)
    )
    assert [item.window for item in marked if item.is_candidate] == [Window(0, 10)]


def test_windows_below_the_cut_are_not_called_suppressed() -> None:
    marked = choose_candidates(scored((0, 59, 90), (3, 62, 10)), count=1, max_overlap=DEFAULT)
    assert marked[1].suppressed_by is None
    assert not marked[1].is_candidate


rows = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(0, 100)),
    max_size=40,
    unique_by=lambda r: r[:2],
).map(lambda made: scored(*((start, start + length, score) for start, length, score in made)))
overlaps = st.decimals(0, 1, places=2)


@given(rows, st.integers(1, 20), overlaps)
def test_candidates_never_overlap_more_than_allowed(
    given_rows: list[ScoredWindow], count: int, limit: Decimal
) -> None:
    marked = choose_candidates(given_rows, count=count, max_overlap=limit)
    chosen = [item.window for item in marked if item.is_candidate]
    assert len(chosen) <= count
    assert not any(overlaps_more_than(span(a), span(b), limit) for a in chosen for b in chosen if a != b)


@given(rows, st.integers(1, 20), overlaps, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_no_two_chosen_cuts_overlap_more_than_allowed_whatever_their_windows_do(
    given_rows: list[ScoredWindow], count: int, limit: Decimal, shifts: list[tuple[int, int]]
) -> None:
    """Cuts of neighbours are often the same pause to the same pause."""
    moved = [
        replace(item, cut=Cut(4 * item.window.start - a, 4 * item.window.end + b, True, 0.5))
        for item, (a, b) in zip(given_rows, [*shifts, *[(0, 0)] * len(given_rows)], strict=False)
    ]
    marked = choose_candidates(moved, count=count, max_overlap=limit)
    chosen = [item.cut for item in marked if item.is_candidate and item.cut]
    pairs = [(a, b) for a in chosen for b in chosen if a is not b]
    assert not any(
        overlaps_more_than((a.start_ms, a.end_ms), (b.start_ms, b.end_ms), limit) for a, b in pairs
    )
    shuffled = sorted(moved, key=lambda item: hash((item.window, item.score)))
    again = choose_candidates(shuffled, count=count, max_overlap=limit)
    assert sorted(map(repr, again)) == sorted(map(repr, marked))


def test_two_windows_with_one_cut_are_not_both_chosen() -> None:
    cut = Cut(3350, 61_000, True, 0.9)
    apart = scored((0, 59, 80), (15, 74, 90))
    both = [replace(item, cut=cut) for item in apart]
    assert candidates(choose_candidates(apart, count=2, max_overlap=DEFAULT)) == [0, 15]
    assert candidates(choose_candidates(both, count=2, max_overlap=DEFAULT)) == [15]


@given(rows, st.integers(1, 20), overlaps)
def test_whoever_is_suppressed_is_weaker_and_overlaps_a_candidate(
    given_rows: list[ScoredWindow], count: int, limit: Decimal
) -> None:
    marked = choose_candidates(given_rows, count=count, max_overlap=limit)
    strength = {item.window: item.score for item in marked if item.is_candidate}
    for item in marked:
        if item.suppressed_by:
            assert not item.is_candidate
            assert strength[item.suppressed_by] >= item.score
            assert overlaps_more_than(span(item.window), span(item.suppressed_by), limit)


@given(rows, st.integers(1, 20), overlaps)
def test_no_stronger_window_is_left_out_without_a_reason(
    given_rows: list[ScoredWindow], count: int, limit: Decimal
) -> None:
    marked = choose_candidates(given_rows, count=count, max_overlap=limit)
    assert [(item.window, item.score) for item in marked] == [(i.window, i.score) for i in given_rows]
    weakest = min((item.score for item in marked if item.is_candidate), default=0)
    left_out = [item for item in marked if not item.is_candidate and not item.suppressed_by]
    assert all(item.score <= weakest for item in left_out)
    if left_out:
        assert sum(item.is_candidate for item in marked) == count


@given(rows, st.integers(1, 20), overlaps)
def test_the_order_of_the_windows_does_not_matter(
    given_rows: list[ScoredWindow], count: int, limit: Decimal
) -> None:
    shuffled = sorted(given_rows, key=lambda item: hash((item.window, item.score)))
    first = choose_candidates(given_rows, count=count, max_overlap=limit)
    second = choose_candidates(shuffled, count=count, max_overlap=limit)
    assert sorted(map(repr, first)) == sorted(map(repr, second))


@pytest.mark.parametrize("count", [1, 30])
def test_no_windows_give_no_candidates(count: int) -> None:
    assert choose_candidates([], count=count, max_overlap=DEFAULT) == []


@given(rows, st.integers(1, 20), st.integers(1, 40), overlaps)
def test_a_window_has_the_place_at_which_more_candidates_would_reach_it(
    given_rows: list[ScoredWindow], count: int, more: int, limit: Decimal
) -> None:
    ranked = choose_candidates(given_rows, count=count, max_overlap=limit, rank_all=True)
    assert [replace(item, pack_rank=None) for item in ranked] == [
        replace(item, pack_rank=None)
        for item in choose_candidates(given_rows, count=count, max_overlap=limit)
    ]
    reached = choose_candidates(given_rows, count=more, max_overlap=limit)
    assert [bool(item.pack_rank and item.pack_rank <= more) for item in ranked] == [
        item.is_candidate for item in reached
    ]


def test_a_window_that_was_analysed_before_stands_in_for_a_stronger_one_nearby() -> None:
    near = scored((0, 59, 90), (3, 62, 50), (6, 65, 60), (60, 119, 40), (90, 149, 30))
    near[1], near[2], near[4] = (replace(near[n], analysed_before=True) for n in (1, 2, 4))
    marked = choose_candidates(near, count=2, max_overlap=DEFAULT)
    assert candidates(marked) == [6, 60]  # the better of the two; nothing known is near 60
    assert [item.suppressed_by for item in marked[:2]] == [Window(6, 65), Window(6, 65)]
    assert [item.pack_rank for item in marked] == [None, None, 1, 2, None]
    assert candidates(choose_candidates(near, count=1, max_overlap=DEFAULT)) == [6]
    assert choose_candidates(near, count=1, max_overlap=DEFAULT)[0].suppressed_by == Window(6, 65)


flags = st.lists(st.booleans(), min_size=40, max_size=40)


@given(rows, flags, st.integers(1, 20), overlaps)
def test_who_stands_in_repeats_no_candidate_and_once_chosen_is_chosen_again(
    given_rows: list[ScoredWindow], known: list[bool], count: int, limit: Decimal
) -> None:
    before = [replace(item, analysed_before=flag) for item, flag in zip(given_rows, known, strict=False)]
    marked = choose_candidates(before, count=count, max_overlap=limit, rank_all=True)
    chosen = [item.window for item in marked if item.is_candidate]
    assert len(chosen) <= count
    assert not any(overlaps_more_than(span(a), span(b), limit) for a in chosen for b in chosen if a != b)
    for item in marked:
        if item.suppressed_by:
            assert not item.is_candidate
            assert overlaps_more_than(span(item.window), span(item.suppressed_by), limit)
    again = choose_candidates(
        [replace(item, analysed_before=item.window in chosen) for item in before],
        count=count,
        max_overlap=limit,
    )
    assert [item.window for item in again if item.is_candidate] == chosen
    reversed_rows = choose_candidates(before[::-1], count=count, max_overlap=limit, rank_all=True)
    assert reversed_rows[::-1] == marked
