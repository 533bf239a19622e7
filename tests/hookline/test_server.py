"""The embedded server leaves the machine to the models."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest

from hookline.embedded import QUIET_AND_LOCAL
from hookline.server import EmbeddedServer

WATCHED_S = 3


@pytest.fixture
def idle_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    for name, value in QUIET_AND_LOCAL.items():
        monkeypatch.setenv(name, value)
    server = EmbeddedServer()
    server.launch()
    try:
        server.wait()
        assert server.process
        yield psutil.Process(server.process.pid)
    finally:
        server.stop()


def test_a_server_with_nothing_to_do_does_nothing(idle_server: psutil.Process) -> None:
    time.sleep(1)  # the first requests are over
    before = idle_server.cpu_times()
    time.sleep(WATCHED_S)
    after = idle_server.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.2 * WATCHED_S
