"""The embedded server leaves the machine to the models, and ends with its run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hookline.embedded import QUIET_AND_LOCAL
from hookline.server import EmbeddedServer
from tests.waiting import patience

WATCHED_S = 3

KILLED_RUN = """
import time
from hookline.server import EmbeddedServer

server = EmbeddedServer()
server.launch()
print(server.process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def idle_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    for name, value in {**QUIET_AND_LOCAL, "PREFECT_HOME": str(home)}.items():
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


def test_a_server_ends_when_its_run_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-c", KILLED_RUN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout
        server = psutil.Process(int(run.stdout.readline()))
        run.kill()
    try:
        server.wait(patience(60))
    finally:
        if server.is_running():
            server.kill()
