"""What is tried after memory ran out: less and less, and every segment ends exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Window
from tasks.core.scoring.oom_fallback import Attempt, OomFallback

WINDOWS = [Window(start, start + 150) for start in range(0, 100, 10)]


def climb(fallback: OomFallback, fits: Callable[[Attempt], bool]) -> tuple[list[Attempt], list[Attempt]]:
    """The attempts that succeeded, and those after which nothing less was left."""
    answered, given_up = [], []
    while attempt := fallback.next():
        if fits(attempt):
            answered.append(attempt)
        elif not fallback.reduce(attempt):
            given_up.append(attempt)
    return answered, given_up


def test_segments_are_handed_out_in_order_of_time() -> None:
    answered, _ = climb(OomFallback(WINDOWS[::-1], size=4, max_frames=128), lambda attempt: True)
    assert [len(attempt.windows) for attempt in answered] == [4, 4, 2]
    assert [window for attempt in answered for window in attempt.windows] == WINDOWS
    assert {(attempt.max_frames, attempt.reason) for attempt in answered} == {(128, None)}


def test_a_smaller_batch_is_kept_for_the_rest() -> None:
    windows = [Window(start, start + 150) for start in range(21)]
    answered, _ = climb(
        OomFallback(windows, size=8, max_frames=128), lambda attempt: len(attempt.windows) <= 4
    )
    assert [len(attempt.windows) for attempt in answered] == [4, 4, 4, 4, 4, 1]
    assert {attempt.reason for attempt in answered[:-1]} == {"smaller_batch"}
    assert answered[0].detail == "Memory ran out with more than 4 segments at once."
    assert (answered[-1].reason, answered[-1].detail) == (None, None)  # there were no more


@pytest.mark.parametrize(
    ("most", "max_frames", "tried"),
    [(64, 128, 64), (40, 128, 32), (64, 180, 64), (20, 40, None), (20, 20, 20)],
)
def test_frames_are_halved_down_to_32(most: int, max_frames: int, tried: int | None) -> None:
    fallback = OomFallback(WINDOWS[:1], size=1, max_frames=max_frames)
    answered, given_up = climb(fallback, lambda attempt: attempt.max_frames <= most)
    assert [attempt.max_frames for attempt in answered] == ([tried] if tried else [])
    assert [attempt.max_frames for attempt in given_up] == ([] if tried else [32])


def test_fewer_frames_than_a_segment_has_are_no_reduction_of_it() -> None:
    fallback = OomFallback([Window(0, 40)], size=1, max_frames=128)
    seen = []
    while attempt := fallback.next():
        seen.append(attempt.max_frames)
        fallback.reduce(attempt)
    assert seen == [128, 32]


def test_the_next_segment_has_all_its_frames_again() -> None:
    heavy = WINDOWS[0]
    fallback = OomFallback(WINDOWS[:2], size=1, max_frames=128)
    answered, _ = climb(fallback, lambda attempt: heavy not in attempt.windows or attempt.max_frames <= 64)
    assert [(attempt.windows, attempt.max_frames) for attempt in answered] == [
        ((WINDOWS[0],), 64),
        ((WINDOWS[1],), 128),
    ]
    assert [attempt.reason for attempt in answered] == ["fewer_frames", None]


def test_another_error_sets_the_segments_apart_once() -> None:
    fallback = OomFallback(WINDOWS[:5], size=3, max_frames=128)
    first = fallback.next()
    assert first is not None
    assert fallback.separate(first)
    alone = [fallback.next() for _ in range(3)]
    assert [attempt.windows for attempt in alone if attempt] == [(window,) for window in WINDOWS[:3]]
    assert alone[0] is not None
    assert not fallback.separate(alone[0])
    rest = fallback.next()
    assert rest is not None
    assert len(rest.windows) == 2


@given(
    n=st.integers(0, 12),
    size=st.integers(1, 40),
    max_frames=st.integers(4, 180),
    fits=st.functions(like=lambda attempt: ..., returns=st.booleans(), pure=True),
)
def test_every_segment_ends_exactly_once_whatever_fits(
    n: int, size: int, max_frames: int, fits: Callable[[Attempt], bool]
) -> None:
    windows = WINDOWS[:n]
    answered, given_up = climb(OomFallback(windows, size=size, max_frames=max_frames), fits)
    ended = [window for attempt in answered + given_up for window in attempt.windows]
    assert sorted(ended) == windows
    assert all(len(attempt.windows) == 1 for attempt in given_up)
