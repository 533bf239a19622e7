"""Frame sizes: multiples, inside the budget, close to the shape of the picture."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.geometry import FrameBudget, display_size, frame_size, frames_bytes

BUDGET = FrameBudget(max_pixels=420 * 224, min_pixels=56 * 56, multiple_of=28)
sides = st.integers(1, 8192)


@pytest.mark.parametrize(
    ("shown", "kept"),
    [
        ((1280, 720), (392, 224)),
        ((720, 1280), (224, 392)),
        ((280, 140), (280, 140)),
        ((320, 240), (308, 252)),
        ((50, 50), (56, 56)),
        ((16, 4096), (28, 3360)),
        ((4096, 16), (3360, 28)),
        ((1, 1), (56, 56)),
    ],
)
def test_frame_sizes(shown: tuple[int, int], kept: tuple[int, int]) -> None:
    assert frame_size(*shown, BUDGET) == kept


@given(width=sides, height=sides)
def test_a_frame_is_whole_multiples_within_the_budget(width: int, height: int) -> None:
    kept_width, kept_height = frame_size(width, height, BUDGET)
    assert kept_width % 28 == kept_height % 28 == 0
    assert 0 < kept_width * kept_height <= BUDGET.max_pixels


@given(width=st.integers(200, 4000), height=st.integers(200, 4000))
def test_a_frame_keeps_the_shape_of_the_picture(width: int, height: int) -> None:
    if max(width, height) < 4 * min(width, height):
        kept_width, kept_height = frame_size(width, height, BUDGET)
        assert kept_width / kept_height == pytest.approx(width / height, rel=0.25)


@pytest.mark.parametrize(
    ("stored", "aspect", "quarter_turns", "shown"),
    [
        ((704, 576), Fraction(16, 11), 0, (1024, 576)),
        ((640, 360), Fraction(2, 3), 0, (640, 540)),
        ((1280, 544), Fraction(1), 1, (544, 1280)),
        ((1280, 544), Fraction(1), 2, (1280, 544)),
        ((1280, 544), Fraction(2), 3, (544, 2560)),
    ],
)
def test_display_sizes(
    stored: tuple[int, int], aspect: Fraction, quarter_turns: int, shown: tuple[int, int]
) -> None:
    assert display_size(*stored, aspect=aspect, quarter_turns=quarter_turns) == shown


def test_a_frame_takes_three_bytes_a_pixel() -> None:
    assert frames_bytes(10, 4, 5) == 600
