"""The embedded server leaves the machine to the models, and ends with its run."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from prefect import flow, task
from prefect.futures import wait
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from hookline.embedded import QUIET_AND_LOCAL, flush
from hookline.own_server import EmbeddedServer
from tests.waiting import patience

WATCHED_S = 3

TASKS = 120

KILLED_RUN = """
import time
from hookline.own_server import EmbeddedServer

server = EmbeddedServer()
server.launch()
print(server.process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[EmbeddedServer]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**QUIET_AND_LOCAL, "PREFECT_HOME": str(home)}.items():
            patched.setenv(name, value)
        server = EmbeddedServer()
        server.launch()
        try:
            server.wait()
            yield server
        finally:
            server.stop()


def test_a_server_with_nothing_to_do_does_nothing(server: EmbeddedServer) -> None:
    assert server.process
    process = psutil.Process(server.process.pid)
    time.sleep(1)  # the first requests are over
    before = process.cpu_times()
    time.sleep(WATCHED_S)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.2 * WATCHED_S


def test_queues_have_no_limit_and_the_database_was_not_migrated(server: EmbeddedServer) -> None:
    settings = httpx.get(f"{server.api_url}/admin/settings").json()["server"]
    assert settings["events"]["messaging_broker"] == "hookline.broker"
    assert not settings["database"]["migrate_on_start"]
    assert not settings["register_blocks_on_start"]


def test_a_server_ends_when_all_is_recorded(server: EmbeddedServer, home: Path) -> None:
    """It is stopped while most of what it was told still waits."""
    flush(server.api_url)  # whatever talks to another server; what comes from here on talks to this one
    with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        many_tasks(TASKS)
        flush(server.api_url)
    server.stop()
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        states = database.execute("SELECT state_type, count(*) FROM task_run GROUP BY 1").fetchall()
        ((events,),) = database.execute("SELECT count(*) FROM events WHERE event LIKE 'prefect.task-run%'")
    assert states == [("COMPLETED", TASKS)]
    assert events == 3 * TASKS


@flow
def many_tasks(count: int) -> None:
    wait(quick_task.map(range(count)))


@task
def quick_task(number: int) -> int:
    return number


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
