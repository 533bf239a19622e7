"""How fast the models were: true with several devices, calls that overlap, and where nothing ran."""

from __future__ import annotations

import pytest

from tasks.core.throughput import Throughput, Work, throughput

ANSWERED = {"segments": 6, "prompt_tokens": 9000, "shared_tokens": 3000, "new_tokens": 1200}


def scored(process: str, began_s: float, ended_s: float, busy_s: float, windows: int) -> Work:
    return Work(process, (began_s, ended_s), (), busy_s, {"windows": windows})


def test_what_did_not_run_is_null() -> None:
    found = throughput([], [], video_hours=0)
    assert found == Throughput()
    numbers = {**dict(found.fast), **dict(found.deep), "busy": found.device_busy}
    assert numbers.pop("devices") == 0
    assert set(numbers.values()) == {None}


def test_one_device_has_its_rates_by_the_time_of_its_calls() -> None:
    fast = [scored("a", 0, 4, 3, 32), scored("a", 5, 9, 4, 32)]
    deep = [Work("a", (10, 40), (), 27, ANSWERED)]
    found = throughput(fast, deep, video_hours=0.2)
    assert (found.fast.windows, found.fast.seconds, found.fast.windows_per_second) == (64, 8, 8)
    assert found.fast.video_hours_per_hour == pytest.approx(90)
    assert (found.fast.efficiency, found.fast.device_busy) == (7 / 8, 7 / 9)
    assert (found.deep.segments, found.deep.segments_per_minute) == (6, 12)
    assert (found.deep.prompt_tokens, found.deep.prompt_tokens_per_second) == (6000, 200)
    assert (found.deep.output_tokens, found.deep.output_tokens_per_second) == (1200, 40)
    assert (found.deep.efficiency, found.device_busy) == (0.9, 34 / 40)


def test_several_devices_add_up_and_their_clocks_need_not_agree() -> None:
    alone = throughput([scored("a", 0, 10, 8, 80)], [], video_hours=1).fast
    both = throughput([scored("a", 0, 10, 8, 80), scored("b", 7e9, 7e9 + 10, 8, 80)], [], video_hours=2).fast
    assert (both.devices, both.seconds, both.busy_seconds, both.windows) == (2, 20, 16, 160)
    for rate in ("windows_per_second", "video_hours_per_hour", "efficiency", "device_busy"):
        assert getattr(both, rate) == pytest.approx(getattr(alone, rate))


def test_calls_that_overlap_on_a_device_count_its_time_once() -> None:
    found = throughput(
        [scored("a", 0, 6, 4, 10), scored("a", 2, 5, 2, 10), scored("a", 5, 8, 2, 10)], [], video_hours=1
    )
    assert (found.fast.seconds, found.fast.efficiency) == (8, 1)


def test_a_device_that_waits_is_not_busy_yet_as_efficient() -> None:
    found = throughput([scored("a", 0, 1, 1, 10), scored("a", 9, 10, 1, 10)], [], video_hours=1)
    assert (found.fast.efficiency, found.fast.device_busy) == (1, 0.2)


def test_time_in_which_a_device_is_with_the_other_model_is_no_loss() -> None:
    fast = [
        Work("a", (0, 10), ((0, 2),), 2, {"windows": 20}),
        Work("b", (0, 2), ((0, 2),), 2, {"windows": 20}),
    ]
    deep = [Work("a", (1, 11), ((2, 10),), 8, ANSWERED)]  # the first call of `fast` is read back after it
    found = throughput(fast, deep, video_hours=1)
    assert (found.fast.seconds, found.fast.windows_per_second, found.fast.efficiency) == (4, 10, 1)
    assert (found.deep.seconds, found.deep.efficiency) == (9, 8 / 9)
    assert found.device_busy == 12 / 13
