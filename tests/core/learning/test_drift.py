"""A night that is unlike those before it raises the alarm; nights that are alike seldom do."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.core.learning.drift import ALARM, drift


def nights(rng: np.random.Generator, shifts: list[float], *, videos: int = 20) -> list[list[float | None]]:
    return [list(rng.normal(shift, 1, videos)) for shift in shifts]


def test_nights_that_are_alike_seldom_raise_the_alarm() -> None:
    rng = np.random.default_rng(0)
    found = [value for _ in range(100) for value in drift(nights(rng, [0.0] * 20))[1:]]
    alarms = sum(abs(value) > ALARM for value in found if value is not None)
    assert len(found) == 1900
    assert alarms / len(found) < 0.006


@pytest.mark.parametrize(("shift", "within"), [(1.5, 1), (0.5, 6)])
def test_a_large_shift_is_seen_at_once_and_a_small_one_in_a_few_nights(shift: float, within: int) -> None:
    rng, seen = np.random.default_rng(1), 0
    for _ in range(50):
        found = drift(nights(rng, [0.0] * 10 + [shift] * within))
        seen += any(value is not None and value > ALARM for value in found[10:])
    assert seen >= 40


def test_what_tells_nothing_has_no_value_and_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    some = nights(rng, [0.0] * 4)
    quiet: list[float | None] = [None, 0.5]
    assert drift([[]]) == [None]
    assert drift(nights(rng, [0.0] * 2, videos=5)) == [None, None], "too few videos before"
    assert drift([[1.0] * 30, [1.0] * 30]) == [None, None], "nothing differs by chance"
    with_quiet = drift([*some[:3], quiet, some[3]])
    assert with_quiet[3] is None
    assert with_quiet[:3] == drift(some)[:3]
