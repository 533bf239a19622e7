"""What is timed on a GPU is not waited for."""

from __future__ import annotations

import time

import pytest
import torch

from tasks.adapters.models.usage import Usage


class Event:
    """Stands for an event of CUDA, which there is none of here: it is reached when `done` says so."""

    now_ms = 0.0
    done = False

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at_ms = Event.now_ms

    def query(self) -> bool:
        return Event.done

    def synchronize(self) -> None:
        Event.done = True

    def elapsed_time(self, later: Event) -> float:
        return later.at_ms - self.at_ms


def test_a_gpu_is_not_waited_for_until_its_seconds_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: pytest.fail("it is waited for"))
    usage = Usage(torch.device("cuda"))
    for _ in range(3):
        with usage.timing("vision"):
            Event.now_ms += 500
        with usage.timing("prefill"):
            Event.now_ms += 250
    assert usage._seconds == {}
    assert usage.seconds == {"vision": 1.5, "prefill": 0.75}
    with usage.timing("vision"):  # what is finished is counted at once
        Event.now_ms += 500
    assert usage._seconds["vision"] == 2.0


def test_the_grammar_is_not_counted_beside_the_generation_that_it_is_part_of() -> None:
    usage = Usage(torch.device("cpu"))
    with usage.timing("generate"), usage.timing("grammar", whole=False):
        time.sleep(0.02)
    usage.count["new_tokens"] += 5
    assert usage.spent["new_tokens"] == 5
    assert usage.spent["busy_us"] == round(1e6 * usage.seconds["generate"])


@pytest.mark.parametrize(("device", "whole"), [("cpu", True), ("cpu", False), ("cuda", False)])
def test_work_of_the_cpu_is_timed_by_the_clock(device: str, whole: bool) -> None:
    usage = Usage(torch.device(device))
    with usage.timing("grammar", whole=whole):
        time.sleep(0.02)
    assert 0.02 <= usage.seconds["grammar"] < 2
