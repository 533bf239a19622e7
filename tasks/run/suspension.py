"""A run that is suspended on its page: it ends soon, and the server hears that it did.

Prefect tells a flow at the next step it takes, by raising `Pause`. A step here may take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

from prefect.events import emit_event
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

T = TypeVar("T")

POLL_S = 3.0
"""Seconds from one look whether the run was suspended to the next."""


def result_of(future: PrefectFuture[T]) -> T:
    """The result of a task run, once it is there.

    Raises:
        Pause: the run was suspended.
        Exception: what the task raised.
    """
    done = Event()
    future.add_done_callback(lambda _: done.set())
    while not done.wait(POLL_S):
        future.wait(0)  # raises Pause
    return future.result()


@contextmanager
def announce_end() -> Iterator[None]:
    """Tell the server when the flow in the block is over.

    It takes a run that falls silent after a heartbeat for crashed. A suspended one has no final state that
    would break the silence.
    """
    try:
        yield
    finally:
        if run_id := flow_run.id:
            emit_event(
                "prefect.flow-run.over", resource={"prefect.resource.id": f"prefect.flow-run.{run_id}"}
            )
