"""What is drawn of a video."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tasks.core.views.curve import MAX_POINTS, curve_of, lanes, thinned
from tests.report import ranked_video

scores = st.lists(st.integers(0, 100), min_size=1, max_size=2000)
spans = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30)), max_size=30)


def test_a_window_is_drawn_at_its_middle() -> None:
    curve = curve_of(ranked_video(windows=3, segments=1).scored)
    assert curve.lines == [[(27.78, 0), (50.0, 37), (72.22, 74)]]
    assert curve.candidates == [(27.78, 0), (50.0, 37)]


@given(scores)
def test_a_long_curve_keeps_its_peak(heights: list[int]) -> None:
    points = [(float(place), float(height)) for place, height in enumerate(heights)]
    kept = thinned(points)
    assert len(kept) <= MAX_POINTS
    assert max(height for _, height in kept) == max(heights)
    assert kept == sorted(kept)


@given(spans)
def test_segments_of_one_lane_do_not_touch_and_none_is_lost(starts: list[tuple[int, int]]) -> None:
    given_spans = [
        (number, float(start), float(start + length)) for number, (start, length) in enumerate(starts)
    ]
    drawn = lanes(given_spans, 120)
    assert sorted(what for lane in drawn for what, _, _ in lane) == list(range(len(starts)))
    for lane in drawn:
        for (_, left, width), (_, following, _) in pairwise(lane):
            assert left + width <= following + 0.02
