"""Work on several items at once, for work that spends most of its time waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

MAX_THREADS = 1000
"""More than any cluster has work for; a thread is started when it is needed."""


def run_concurrently(work: Callable[[T], None], items: Iterable[T], *, at_once: Callable[[], int]) -> None:
    """Do the work on every item, each in its own thread, which belongs to the same flow run.

    At most `at_once()` items are in work; the next one is taken from `items` when there is room for it.

    Raises:
        Exception: the first one that the work raised. After it no item is started.
    """
    pool = ThreadPoolExecutor(MAX_THREADS, "concurrently")
    running: set[Future[None]] = set()
    waiting = iter(items)
    try:
        while True:
            running = _with_room(running, at_once())
            try:
                item = next(waiting)
            except StopIteration:
                break
            running.add(pool.submit(copy_context().run, work, item))
        while running:
            running = _with_room(running, len(running))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _with_room(running: set[Future[None]], at_once: int) -> set[Future[None]]:
    """Wait until fewer than `at_once` are running, and return those that are."""
    if len(running) < at_once:
        return running
    done, still = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return still
