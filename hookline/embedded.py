"""Prefect without a server to start: one of its own for the length of a run, and no history lost.

Where a Prefect server is configured (PREFECT_API_URL or an active profile), that one is used.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hookline.server import EmbeddedServer, check_healthy, is_healthy
from tasks.adapters.garbage import no_garbage

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

QUIET_AND_LOCAL = {
    # Waiting threads spin by default and take the cores from decoding: 0.6 s a segment become 2-8 s.
    "OMP_WAIT_POLICY": "PASSIVE",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # Task runs are recorded in batches: 500 of them in 1 s instead of 10. Prefect takes whole seconds
    # only: half a one becomes none, and the server keeps a core busy doing nothing.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}
"""The environment of embedded runs; what the environment already says is left alone."""


def prepare_environment(environment: Mapping[str, str] = QUIET_AND_LOCAL) -> None:
    """Set the defaults above. Must come before Prefect and PyTorch are first imported."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_server(*, imports: Sequence[str] = ()) -> Iterator[Callable[[State[Any]], bool]]:
    """A Prefect server for the block: the configured one, or a subprocess that ends with it.

    The subprocess starts while Prefect, the flow and the modules `imports` are imported: all take seconds.

    Yields what to call with the final state of a flow run before the block ends: it sends what the server
    has not heard of the run yet, and tells whether that is there to record it. Our own ends when it has.

    Raises:
        HooklineError: the configured server does not answer, or ours did not start.
    """
    server = EmbeddedServer()
    if not os.environ.get("PREFECT_API_URL"):
        server.launch()
    try:
        with no_garbage():
            from prefect.settings import (
                PREFECT_API_URL,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
                temporary_settings,
            )

        if configured := PREFECT_API_URL.value():
            server.stop()  # a profile names another one
            check_healthy(configured)
            yield partial(sent, configured)
            return
        with no_garbage():
            for name in ("flows.rank_videos", *imports):
                importlib.import_module(name)
        server.wait()
        # Nobody waits for heartbeats of this run, and their thread takes up to a second to end.
        own = {PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with temporary_settings(own):
            try:
                yield partial(sent, server.api_url)
            finally:
                flush()  # what still waits when the server is gone would hold up the exit for ever
    finally:
        server.stop()


def flush() -> None:
    """Send all events and log lines that still wait in this process."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all()
    APILogWorker.drain_all()


def sent(api_url: str, _: State[Any]) -> bool:
    """Send what the server has not heard of yet. It records it in its own time, if it is there."""
    flush()
    return is_healthy(api_url)
