"""In each shot the window lies on the faces, or else on what moves and stands out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tasks.adapters.video.clips.places import Place, Sample, places

SHARE = 0.316
"""Of the width: 9:16 out of 16:9."""
FLAT = np.ones(64)


def sample(number: int, *faces: tuple[float, float], motion: int | None = None, size: float = 0.08) -> Sample:
    """`faces` are middles and areas; `motion` is the column in which something moves."""
    rows = [(x - size / 2, x + size / 2, area) for x, area in faces]
    moves = FLAT * 0.1
    if motion is not None:
        moves = np.where(np.abs(np.arange(64) - motion) < 4, 30.0, 0.1)
    return Sample(number, np.array(rows, np.float32).reshape(-1, 3), moves, FLAT)


def placed(samples: Sequence[Sample], *changes: int, count: int = 100) -> list[tuple[int, float, str]]:
    return [(each.first, each.x, each.found) for each in places(samples, changes, count=count, share=SHARE)]


def test_each_shot_has_the_place_of_its_faces() -> None:
    left = [sample(number, (0.25, 1.0)) for number in range(0, 50, 12)]
    right = [sample(number, (0.8, 1.0)) for number in range(60, 100, 12)]
    (first, second) = placed([*left, *right], 50)
    assert (first[0], first[2], second[0], second[2]) == (0, "faces", 50, "faces")
    assert first[1] == pytest.approx(0.25, abs=0.01)
    assert second[1] == pytest.approx(0.8, abs=0.01)


def test_a_face_that_walks_is_held_as_long_as_it_can_be() -> None:
    walk = [sample(number, (0.1 + 0.6 * number / 100, 1.0)) for number in range(0, 100, 12)]
    ((_, x, _),) = placed(walk)
    held = sum(x - SHARE / 2 <= 0.1 + 0.6 * each.number / 100 - 0.04 <= x + SHARE / 2 - 0.08 for each in walk)
    assert held >= 3
    assert SHARE / 2 <= x <= 1 - SHARE / 2


def test_the_larger_face_goes_before_a_smaller_one_and_both_are_held_where_they_can_be() -> None:
    apart = [sample(number, (0.2, 1.0), (0.8, 3.0)) for number in range(0, 100, 12)]
    assert placed(apart)[0][1] == pytest.approx(0.8, abs=0.01)
    near = [sample(number, (0.5, 1.0), (0.62, 3.0)) for number in range(0, 100, 12)]
    x = placed(near)[0][1]
    assert x - SHARE / 2 <= 0.44
    assert x + SHARE / 2 >= 0.68


def test_a_face_seen_once_is_a_mistake() -> None:
    still = [sample(number) for number in range(0, 100, 10)]
    assert placed([*still[:5], sample(50, (0.9, 1.0)), *still[6:]]) == [(0, 0.5, "centre")]


def test_without_faces_the_window_lies_where_something_moves() -> None:
    ((_, x, found),) = placed([sample(number, motion=56) for number in range(0, 100, 12)])
    assert found == "motion"
    assert x + SHARE / 2 >= 58 / 64  # nearly all of it is inside
    assert x - SHARE / 2 <= 52 / 64


def test_what_is_alike_everywhere_stays_in_the_middle() -> None:
    assert placed([sample(number) for number in range(0, 100, 12)]) == [(0, 0.5, "centre")]


def test_the_window_does_not_move_by_a_little_nor_where_nothing_was_seen() -> None:
    samples = [sample(0, (0.30, 1.0)), sample(40, (0.32, 1.0)), sample(90, (0.6, 1.0))]
    found = placed(samples, 30, 60, 80)
    assert [x for _, x, _ in found] == [found[0][1]] * 3 + [pytest.approx(0.6, abs=0.01)]
    assert isinstance(places(samples, [30], count=100, share=SHARE)[0], Place)
