"""Windows move to where nobody speaks: never far, never longer, never worse, and always alike."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.speech.cuts import MAX_SHIFT_MS, Cut, Cutter, longest
from tasks.core.speech.heard import Word

END_MS = 60_000
TALK = [(2000, 10_000), (10_128, 19_500), (20_500, 34_000), (36_000, 52_000)]
"""With pauses of 128 ms, 1 s and 2 s."""


Video = tuple[Cutter, list[tuple[int, int]], int, list[Word]]


def spans(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches of speech from pairs of a pause and a length."""
    edges = list(accumulate(step for pair in steps for step in pair))
    return list(zip(edges[::2], edges[1::2], strict=True))


pauses = st.one_of(st.sampled_from([64, 96, 128, 288]), st.integers(64, 8000))
talks = st.lists(st.tuples(pauses, st.integers(64, 9000)), max_size=40).map(spans)


@st.composite
def videos(draw: st.DrawFn) -> tuple[Cutter, list[tuple[int, int]], int, list[Word]]:
    """Any talk, how long its video is, and the ends of some sentences."""
    talk = draw(talks)
    end_ms = max(5000, talk[-1][1] if talk else 0) + draw(st.integers(0, 9000))
    if talk and draw(st.booleans()):
        talk[0] = (0, talk[0][1])  # somebody speaks from the first moment on
    ends = [end for _, end in talk if draw(st.booleans())]
    words = [Word(end - 60, end, "end.", 1.0) for end in ends]
    return Cutter(talk, end_ms=end_ms), talk, end_ms, words


def is_spoken(at: int, talk: list[tuple[int, int]]) -> bool:
    """Whether somebody is cut off by cutting here."""
    before = bisect_right(talk, (at, 0)) - 1
    return before >= 0 and talk[before][0] < at < talk[before][1]


def is_clean(start: int, end: int, cutter: Cutter) -> list[bool]:
    """Whether a window leaves everybody uncut, at its start and at its end."""
    return [any(place.begin <= at <= place.end for place in cutter._places) for at in (start, end)]


@given(videos(), st.sampled_from([5, 15, 59, 90]), st.integers(0, 100))
def test_a_cut_is_near_its_window_inside_the_video_and_never_longer_or_worse(
    video: Video, seconds: int, at: int
) -> None:
    cutter, talk, end_ms, words = video
    length = min(seconds * 1000, end_ms)
    start = at * (end_ms - length) // 100
    cut = cutter.cut(start, start + length, words)
    shift = min(MAX_SHIFT_MS, length // 4)
    assert abs(cut.start_ms - start) <= shift
    assert abs(cut.end_ms - start - length) <= shift
    assert 0 <= cut.start_ms < cut.end_ms <= end_ms
    assert length - 2 * shift <= cut.end_ms - cut.start_ms <= longest(length)
    before, after = is_clean(start, start + length, cutter), is_clean(cut.start_ms, cut.end_ms, cutter)
    assert all(now or not then for then, now in zip(before, after, strict=True))
    assert cut.is_clean == all(after)
    if cut.is_clean:
        assert not is_spoken(cut.start_ms, talk)
        assert not is_spoken(cut.end_ms, talk)
    spoken = sum(max(0, min(end, cut.end_ms) - max(begin, cut.start_ms)) for begin, end in talk)
    assert cut.speech_ratio == round(spoken / (cut.end_ms - cut.start_ms), 3)
    assert cutter.cut(start, start + length, words) == cut


@given(videos(), st.integers(0, 100))
def test_what_is_clean_is_clean_when_it_is_cut_again(video: Video, at: int) -> None:
    cutter, _, end_ms, words = video
    start = at * (end_ms - 5000) // 100
    cut = cutter.cut(start, start + 5000, words)
    assert cutter.cut(cut.start_ms, cut.end_ms, words).is_clean or not cut.is_clean


def cut_of(window: tuple[int, int], *words: Word) -> tuple[int, int, bool]:
    cut = Cutter(TALK, end_ms=END_MS).cut(*window, words)
    return cut.start_ms, cut.end_ms, cut.is_clean


@pytest.mark.parametrize(
    ("window", "cut"),
    [
        ((20_000, 35_000), (20_000, 35_000, True)),  # in pauses as it is
        ((22_000, 37_000), (20_350, 34_250, True)),  # 150 ms before who speaks next, 250 ms after who spoke
        ((20_450, 34_100), (20_450, 34_100, False)),  # too near to who speaks, but it must not grow
        ((20_450, 34_400), (20_350, 34_250, True)),
        ((0, 59_000), (0, 59_000, True)),  # before and after all speech
        ((12_000, 27_000), (12_000, 27_000, False)),  # no pause within 3 s
        ((8000, 23_000), (10_039, 23_000, False)),  # one end at least, in the silence of a short pause
        ((8000, 22_000), (10_039, 19_750, True)),
        ((24_000, 31_000), (24_000, 31_000, False)),  # a quarter of 7 s is too little for any pause
    ],
)
def test_each_end_goes_to_the_best_place_within_three_seconds(
    window: tuple[int, int], cut: tuple[int, int, bool]
) -> None:
    assert cut_of(window) == cut


def test_the_end_of_a_sentence_is_better_than_a_longer_pause() -> None:
    talk = [(0, 8000), (8200, 10_000), (11_000, 22_000), (23_000, 60_000)]
    window = (9000, 24_000)
    cutter = Cutter(talk, end_ms=END_MS)
    at_once = cutter.cut(*window)
    sentence = cutter.cut(*window, [Word(7500, 7990, ' so."', 0.9)])
    comma = cutter.cut(*window, [Word(7500, 7990, " so,", 0.9)])
    long_ago = cutter.cut(*window, [Word(7000, 7400, " so.", 0.9)])
    assert at_once.start_ms == comma.start_ms == long_ago.start_ms == 10_850
    assert sentence.start_ms == 8075


def test_a_window_of_59_seconds_may_grow_up_to_a_minute_and_no_other() -> None:
    talk = [(0, 10_000), (10_500, 69_800), (70_500, 200_000)]
    cutter = Cutter(talk, end_ms=200_000)
    grown = cutter.cut(10_800, 69_800)
    assert (grown.start_ms, grown.end_ms, grown.is_clean) == (10_350, 70_050, True)
    assert not cutter.cut(10_800, 68_800).is_clean


def test_where_nobody_speaks_everything_stays() -> None:
    cut = Cutter([], end_ms=9500).cut(2000, 7000)
    assert cut == Cut(2000, 7000, is_clean=True, speech_ratio=0.0)
