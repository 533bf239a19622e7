"""Windows cover the whole video, in whole ticks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Window
from tasks.core.scoring.windows import batches, sample_ticks, window_starts, windows

ticks = st.integers(1, 2_000)


@pytest.mark.parametrize(
    ("n_ticks", "length", "stride", "starts"),
    [
        (59, 59, 3, [0]),  # exactly one window
        (58, 59, 3, [0]),  # shorter than one window
        (60, 59, 3, [0, 1]),  # the last one is flush with the end
        (62, 59, 3, [0, 3]),  # flush without an extra one
        (65, 59, 3, [0, 3, 6]),
        (64, 59, 3, [0, 3, 5]),
        (10, 2, 5, [0, 5, 8]),  # stride longer than a window
        (1, 1, 1, [0]),
    ],
)
def test_window_starts(n_ticks: int, length: int, stride: int, starts: list[int]) -> None:
    assert window_starts(n_ticks, length=length, stride=stride) == starts


def test_a_five_minute_video_has_82_windows_of_59_seconds() -> None:
    assert len(window_starts(300, length=59, stride=3)) == 82


@given(ticks, st.integers(1, 200), st.integers(1, 200))
def test_windows_stay_inside_and_the_last_is_flush(n_ticks: int, length: int, stride: int) -> None:
    made = windows(n_ticks, lengths=[length], stride=stride)
    assert made[0].start == 0
    assert made[-1].end == n_ticks
    assert all(window.length == min(length, n_ticks) for window in made)
    assert all(0 < b.start - a.start <= stride for a, b in pairwise(made))


@given(ticks, st.integers(1, 200), st.integers(1, 200))
def test_windows_cover_the_whole_video(n_ticks: int, length: int, stride: int) -> None:
    made = windows(n_ticks, lengths=[length], stride=min(stride, length))
    assert {tick for window in made for tick in range(window.start, window.end)} == set(range(n_ticks))


@given(ticks, st.lists(st.integers(1, 100), min_size=1, max_size=4), st.integers(1, 50))
def test_several_lengths_give_sorted_windows_each_once(n_ticks: int, lengths: list[int], stride: int) -> None:
    made = windows(n_ticks, lengths=lengths, stride=stride)
    assert made == sorted(set(made))
    assert set(made) == {w for length in lengths for w in windows(n_ticks, lengths=[length], stride=stride)}


@given(st.lists(st.integers(), max_size=200), st.integers(1, 40))
def test_batches_keep_every_item_in_order_and_are_near_equal(items: list[int], size: int) -> None:
    cut = batches(items, size=size)
    assert [item for batch in cut for item in batch] == items
    assert all(0 < len(batch) <= size for batch in cut)
    assert max(map(len, cut), default=0) - min(map(len, cut), default=0) <= 1


@given(st.integers(0, 1_000), st.integers(1, 300), st.integers(1, 64))
def test_sampled_ticks_are_spread_over_the_window(start: int, length: int, count: int) -> None:
    window = Window(start, start + length)
    sampled = sample_ticks(window, count=count)
    assert len(sampled) == count
    assert sampled == sorted(sampled)
    assert sampled[0] == window.start
    assert count == 1 or sampled[-1] == window.end - 1
    gaps = {b - a for a, b in pairwise(sampled)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_sixteen_frames_of_a_59_second_window() -> None:
    expected = [0, 3, 7, 11, 15, 19, 23, 27, 30, 34, 38, 42, 46, 50, 54, 58]
    assert sample_ticks(Window(0, 59), count=16) == expected
