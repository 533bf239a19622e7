"""Several items are in work at once, never more than allowed, and nothing that goes wrong is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from tasks.run.concurrency import run_concurrently

flow_run: ContextVar[str] = ContextVar("flow_run")

TOGETHER_S = 10


def test_as_many_as_allowed_are_in_work_together() -> None:
    both = threading.Barrier(2)
    run_concurrently(lambda _: both.wait(TOGETHER_S) and None, range(4), at_once=lambda: 2)


def test_the_next_item_is_asked_for_only_when_there_is_room() -> None:
    in_work: set[int] = set()
    asked_with: list[int] = []

    def items() -> Iterator[int]:
        for item in range(9):
            asked_with.append(len(in_work))
            in_work.add(item)
            yield item

    run_concurrently(in_work.discard, items(), at_once=lambda: 3)
    assert len(asked_with) == 9
    assert max(asked_with) <= 2


def test_the_work_belongs_to_the_flow_run_of_its_caller() -> None:
    token, seen = flow_run.set("run 1"), []
    try:
        run_concurrently(lambda _: seen.append(flow_run.get()), range(3), at_once=lambda: 2)
    finally:
        flow_run.reset(token)
    assert seen == ["run 1"] * 3


def test_what_the_work_raises_ends_it_all() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise RuntimeError("item 1")

    with pytest.raises(RuntimeError, match="item 1"):
        run_concurrently(work, range(1000), at_once=lambda: 1)
    assert begun == [0, 1]


def test_nothing_to_do_is_done() -> None:
    run_concurrently(print, [], at_once=lambda: 2)
