"""Chunks hold all speech of a video, and come from its pauses alone."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.speech.chunks import MAX_CHUNK_MS, PAD_MS, chunks, telling, touching, vote
from tasks.core.speech.spans import Span
from tests.steps import steps

HOUR_MS = 3_600_000


@st.composite
def spoken(draw: st.DrawFn) -> list[Span]:
    """Stretches of speech with pauses between them."""
    pairs = draw(st.lists(st.tuples(st.integers(64, 20_000), st.integers(32, 70_000)), max_size=60))
    spans, now = [], 0
    for pause, length in pairs:
        spans.append((now + pause, now + pause + length))
        now += pause + length
    return spans


@given(spoken())
def test_chunks_hold_all_speech_once_and_are_never_too_long(speech: list[Span]) -> None:
    end_ms = speech[-1][1] + 50 if speech else 0
    found = chunks(speech, end_ms=end_ms)
    assert all(end - start <= MAX_CHUNK_MS + 2 * PAD_MS for start, end in found)
    assert all(start < end for start, end in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    assert not found or (found[0][0] >= 0 and found[-1][1] <= end_ms)
    in_chunks = sum(
        max(0, min(span[1], chunk[1]) - max(span[0], chunk[0])) for span in speech for chunk in found
    )
    assert in_chunks == sum(end - start for start, end in speech)


@given(spoken())
def test_what_is_said_later_moves_no_chunk_that_has_ended_before(speech: list[Span]) -> None:
    """Only the chunk that was the last may be another, as it may go on."""
    if len(speech) < 2:
        return
    before = chunks(speech[:-1], end_ms=HOUR_MS)
    assert chunks(speech, end_ms=HOUR_MS)[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize(
    ("speech", "found"),
    [
        ([], []),
        ([(1_000, 4_000)], [(800, 4_200)]),
        ([(100, 4_000)], [(0, 4_200)]),
        # The longest pause of those that make it at least 14 s, not the last one that fits.
        (
            [(0, 10_000), (12_000, 16_000), (16_800, 20_000), (20_100, 27_000), (27_064, 40_000)],
            [(0, 16_200), (16_600, 40_200)],
        ),
        # Between two short pauses each chunk has a half of them.
        ([(0, 20_000), (20_100, 41_000)], [(0, 20_050), (20_050, 41_200)]),
        # No chunk goes on over a long pause.
        ([(0, 1_000), (4_100, 5_000)], [(0, 1_200), (3_900, 5_200)]),
        # Who never pauses is cut into equal parts.
        ([(0, 60_000)], [(0, 20_000), (20_000, 40_000), (40_000, 60_200)]),
    ],
)
def test_chunks_end_where_the_speech_pauses(speech: list[Span], found: list[Span]) -> None:
    assert chunks(speech, end_ms=HOUR_MS) == found


def test_four_times_the_talk_is_four_times_the_work() -> None:
    """Ten hours without a long pause are ten thousand stretches of speech."""
    talk = [(3_000 * k, 3_000 * k + 2_800) for k in range(800)]
    short, long = (steps(partial(chunks, talk[:count], end_ms=HOUR_MS)) for count in (200, 800))
    assert long < 5 * short


def test_the_end_of_the_video_ends_the_last_chunk() -> None:
    assert chunks([(1_000, 9_950)], end_ms=10_000) == [(800, 10_000)]


def test_only_chunks_that_have_something_of_a_span_are_heard() -> None:
    chunked = [(0, 10), (10, 20), (25, 30), (40, 50)]
    assert touching(chunked, [(5, 10), (20, 26)]) == [(0, 10), (25, 30)]
    assert touching(chunked, []) == []


@pytest.mark.parametrize("count", [1, 3, 8, 9, 400])
def test_the_language_is_told_by_a_few_chunks_from_all_over_the_video(count: int) -> None:
    chunked = [(10 * k, 10 * k + 9) for k in range(count)]
    asked = telling(chunked)
    assert len(asked) == min(8, count)
    assert len(set(asked)) == len(asked)
    assert asked == sorted(asked)
    assert asked[0][0] <= 10 * count / 8
    assert asked[-1][1] >= 10 * count * 7 / 8 - 10


@pytest.mark.parametrize(
    ("probabilities", "lengths", "language"),
    [
        ([[0.9, 0.05, 0.05]], [5], "en"),
        ([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]], [10, 4], "en"),
        ([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]], [4, 10], "es"),
        ([[0.4, 0.3, 0.3]], [5], None),
        ([[0.5, 0.5, 0.0]], [5], "en"),
        ([], [], None),
    ],
)
def test_a_language_has_half_of_the_votes_or_it_is_none(
    probabilities: list[list[float]], lengths: list[int], language: str | None
) -> None:
    heard = [(100 * k, 100 * k + length) for k, length in enumerate(lengths)]
    assert vote(["en", "es", "fr"], probabilities, heard) == language
