"""How far ahead videos are opened follows who waits for whom."""

from __future__ import annotations

import pytest

from tasks.core.prefetch import Prefetch


@pytest.mark.parametrize(
    ("ready", "depths"),
    [
        ([0, 0, 0, 0, 0], [2, 3, 4, 4, 4]),  # models that wait: up to the most
        ([0, 2, 1, 1], [2, 1, 1, 1]),  # videos that wait: down to one
        ([0, 0, 1, 2, 2], [2, 3, 3, 3, 3]),  # some are ready, some not: as it is
        ([0, 0, 3, 2, 0], [2, 3, 2, 1, 2]),
    ],
)
def test_the_depth_adapts_to_what_is_slower(ready: list[int], depths: list[int]) -> None:
    ahead, seen = Prefetch(), []
    for count in ready:
        ahead.asked(ready=count, most=4)
        seen.append(ahead.depth)
    assert seen == depths


def test_one_worker_never_opens_two() -> None:
    ahead = Prefetch()
    ahead.asked(ready=0, most=1)
    assert ahead.depth == 1
