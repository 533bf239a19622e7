"""What waits to be sent when a run is over is sent, or given up in time and told."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import pytest
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL, temporary_settings
from websockets.sync.server import ServerConnection, serve

from hookline.embedded import flush
from tests.waiting import patience, wait_for

EVENTS = 20
"""Prefect tries each of them for seven seconds where nobody listens."""


@contextmanager
def events_taken(heard: list[str]) -> Iterator[str]:
    """A server that takes events, and nothing else, for the block; yields its address."""
    connections = []

    def take(connection: ServerConnection) -> None:
        connections.append(connection)
        connection.recv()
        connection.send(json.dumps({"type": "auth_success"}))
        heard.extend(str(message) for message in connection)

    with serve(take, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever).start()
        yield "http://{}:{}/api".format(*server.socket.getsockname()[:2])
    for connection in connections:
        connection.close()


@pytest.mark.logs_error
def test_what_a_server_that_is_gone_cannot_be_sent_is_given_up_and_told() -> None:
    """In a process of its own: another test may have left Prefect a sender for another server."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        process.submit(given_up_and_told).result()


def given_up_and_told() -> None:
    heard: list[str] = []
    with events_taken(heard) as api_url, temporary_settings({PREFECT_API_URL: api_url}):
        emit()
        wait_for(lambda: heard)
    with temporary_settings({PREFECT_API_URL: api_url}):
        for _ in range(EVENTS):
            emit()
    began = time.monotonic()
    said = flush(api_url, patience_s=1)
    assert time.monotonic() - began < patience(15)
    assert re.fullmatch(r"The Prefect server is away; not sent: \d+ events and log lines\.", said)
    assert flush(api_url) == ""


def emit() -> None:
    emit_event("tested", resource={"prefect.resource.id": "test"})
