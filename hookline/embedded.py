"""Prefect without a server to start: one of its own for the length of a run, and no history lost.

Where a Prefect server is configured (PREFECT_API_URL or an active profile), that one is used.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from hookline.lingering import LingeringServer
from hookline.own_server import CONNECTIONS_S, PATIENCE_S, check_healthy, is_healthy
from tasks.adapters.garbage import no_garbage
from tasks.core.amounts import number_of
from tasks.core.errors import HooklineError

if TYPE_CHECKING:
    from concurrent.futures import Future

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


MESSAGES = ("event or log line", "events and log lines")

LOOK_S = 2.0
"""How often a server is looked at that is being told the rest."""


def prepare_environment(environment: Mapping[str, str] = QUIET_AND_LOCAL) -> None:
    """Set the defaults above. Must come before Prefect and PyTorch are first imported."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_server(
    *, imports: Sequence[str] = (), lingers_s: float = 0
) -> Iterator[Callable[[State[Any]], bool]]:
    """A Prefect server for the block: the configured one, or a subprocess that ends with it.

    The subprocess starts while Prefect, the flow and the modules `imports` are imported: all take seconds.
    With `lingers_s`, it goes on for so long when the block has ended, and the next such block finds it.

    Yields what to call with the final state of a flow run before the block ends: it sends what the server
    has not heard of the run yet, and tells whether that is there to record it. Our own ends when it has.

    Raises:
        HooklineError: the configured server does not answer, or ours did not start; or it broke off.
    """
    server = LingeringServer(lingers_s)
    if not os.environ.get("PREFECT_API_URL"):
        server.launch()
    try:
        with no_garbage():
            from prefect.settings import (
                PREFECT_API_URL,
                PREFECT_CLIENT_RETRY_EXTRA_CODES,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
                temporary_settings,
            )

        own: dict[Any, Any] = {}
        if api_url := PREFECT_API_URL.value():
            server.stop()  # a profile names another one
            check_healthy(api_url)
            # So it answers while its database is away, which may come back.
            own = {PREFECT_CLIENT_RETRY_EXTRA_CODES: {500, *PREFECT_CLIENT_RETRY_EXTRA_CODES.value()}}
        else:
            with no_garbage():
                for name in ("flows.rank_videos", *imports):
                    importlib.import_module(name)
            server.wait()
            api_url = server.api_url
            # Nobody waits for heartbeats of this run, and their thread takes up to a second to end.
            own = {PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with temporary_settings(own), broken_off_in_words(api_url, is_ours=PREFECT_API_URL in own):
            try:
                yield partial(sent, api_url)
            finally:
                tell(flush(api_url))
    finally:
        tell(server.stop())


@contextmanager
def broken_off_in_words(api_url: str, *, is_ours: bool) -> Iterator[None]:
    """Say of a Prefect server that does not do what the block needs what it answered, and what to do.

    Nobody is sent to look at one that is of the run alone (`is_ours`).

    Raises:
        HooklineError: there is such an error.
    """
    import httpx

    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        # Where a client cannot ask for its version, Prefect makes a RuntimeError of that.
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, httpx.HTTPError):
            raise
        said = str(cause) or type(cause).__name__
        if isinstance(cause, httpx.HTTPStatusError):
            said = f"{cause.response.status_code} {cause.response.reason_phrase}"
        look = "" if is_ours else "look at it and its database, and "
        raise HooklineError(
            f"The Prefect server at {api_url} broke off ({said}): {look}run this again. What was published "
            "before that stays: hookline show OUTPUT"
        ) from error


def flush(api_url: str, *, patience_s: float = PATIENCE_S) -> str:
    """Send all events and log lines that still wait in this process; says what of them is lost.

    What is left when nothing could be sent for `patience_s` is given up: Prefect would try each of them for
    seven seconds, and let the process end only then.
    """
    from prefect.events.worker import EventsWorker

    senders = [*EventsWorker._instances.values()]  # type: ignore[misc]  # those of log lines, too
    tasks = [sender._task for sender in senders]
    found = cast("tuple[set[Future[bool]], set[Future[bool]]]", EventsWorker.drain_all(timeout=LOOK_S))
    busy, before, since = found[1], math.inf, time.monotonic()
    while busy:
        waiting = sum(sender._queue.qsize() for sender in senders)
        if waiting < before and is_healthy(api_url):
            before, since = waiting, time.monotonic()
        elif time.monotonic() - since > patience_s:
            for sender, task in zip(senders, tasks, strict=True):
                if sender._loop and task:
                    sender._loop.call_soon_threadsafe(task.cancel)
            concurrent.futures.wait(busy, timeout=CONNECTIONS_S)
            break
        busy = concurrent.futures.wait(busy, timeout=LOOK_S).not_done
    lost = sum(sender._queue.qsize() for sender in senders)
    return f"The Prefect server is away; not sent: {number_of(lost, *MESSAGES)}." if lost else ""


def tell(lost: str) -> None:
    """Say on stderr what is missing in the history, if something is: whatever level logs have."""
    if lost:
        Console(stderr=True).print(f"hookline: {lost}", markup=False, highlight=False, soft_wrap=True)


def sent(api_url: str, _: State[Any]) -> bool:
    """Send what the server has not heard of yet. It records it in its own time, if it is there."""
    tell(lost := flush(api_url))
    return not lost and is_healthy(api_url)
