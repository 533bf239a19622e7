"""A server that goes on after its command is found by the next one, is nobody else's, and ends by itself."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from hookline.embedded import QUIET_AND_LOCAL, flush
from hookline.lingering import NOTE, UPKEEP, VARIABLE, LingeringServer, Note, lingers_s, locked, server_left
from tasks.core.errors import SettingsError
from tests.hookline.test_server import many_tasks
from tests.waiting import patience, wait_for

LINGERS_S = 1.5

TASKS = 5

WRITES_WHEN_ASKED = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "600",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "600",
}
"""A server that would write what it was told in batches that no test fills, or after ten minutes."""


class Unstarted(LingeringServer):
    """One whose process is none of a server."""

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"])


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("prefect")
    variables = QUIET_AND_LOCAL | WRITES_WHEN_ASKED | {"PREFECT_HOME": str(home)}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in variables.items():
            patched.setenv(name, value)
        yield home


@pytest.fixture(scope="module")
def used() -> Iterator[LingeringServer]:
    """A server that its command still uses."""
    server = LingeringServer(LINGERS_S)
    server.launch()
    process = server.process
    assert process
    try:
        server.wait()
        yield server
    finally:
        process.kill()
        process.wait()
        server.stop()


def test_a_server_in_use_is_left_to_its_command(used: LingeringServer) -> None:
    another = Unstarted(LINGERS_S)
    another.launch()
    try:
        assert another.process
        assert another.options[0] == "0"  # it does not linger
    finally:
        another.stop()
    assert used.process
    assert used.process.poll() is None


def test_a_server_that_lingers_is_found(used: LingeringServer) -> None:
    note = server_left()
    assert note
    assert used.process
    assert (note.pid, note.port) == (used.process.pid, used.port)


def test_a_server_of_other_settings_or_another_database_is_not_used(
    used: LingeringServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("PREFECT_SERVER_EVENTS_MAXIMUM_RELATED_RESOURCES", "99")
        assert server_left() is None
    with monkeypatch.context() as patched:
        patched.setattr("hookline.lingering.version", lambda _: "another")
        assert server_left() is None
    (home / "profiles.toml").write_text('active = "mine"\n[profiles.mine]\n')
    assert server_left() is None
    (home / "profiles.toml").unlink()
    (home / "prefect.db").rename(home / "aside.db")
    assert server_left() is None
    (home / "aside.db").rename(home / "prefect.db")
    assert server_left()


def test_a_server_of_another_user_is_not_used(used: LingeringServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert server_left() is None


def test_another_program_on_the_port_of_a_server_is_not_used(used: LingeringServer, home: Path) -> None:
    note = server_left()
    assert note
    (home / NOTE).write_text(dumps(asdict(replace(note, pid=note.pid + 1))))
    assert server_left() is None
    (home / NOTE).write_text(dumps(asdict(note)))
    assert server_left() == note


HOLDING = """
import sys, time
from pathlib import Path
from hookline.lingering import locked
held = locked(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_the_note_of_a_server_that_was_killed_is_worth_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path / NOTE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        assert locked(tmp_path / NOTE) is None
        server.kill()
        server.wait()
    with wait_for(lambda: locked(tmp_path / NOTE)):
        pass


@pytest.mark.parametrize("written", ["", "{", "[]", '{"pid": 1}', dumps(asdict(Note(1, 1, "", "", 1)))])
def test_a_note_that_says_nothing_is_passed_over(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / NOTE).write_text(written)
    assert server_left() is None


def test_what_a_run_told_its_server_is_recorded_when_the_run_ends_and_the_server_then_ends_by_itself(
    used: LingeringServer, home: Path
) -> None:
    flush(used.api_url)  # whatever in this process talks to another server
    used.stop()
    following = LingeringServer(LINGERS_S)
    following.launch()
    assert following.process is None
    following.wait()
    assert following.port == used.port
    with temporary_settings({PREFECT_API_URL: following.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        many_tasks(TASKS)
        flush(following.api_url)
    wait_for((home / UPKEEP).exists, 20)
    following.stop()
    assert used.process
    assert used.process.poll() is None
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        states = database.execute("SELECT state_type, count(*) FROM task_run GROUP BY 1").fetchall()
        ((events,),) = database.execute("SELECT count(*) FROM events WHERE event LIKE 'prefect.task-run%'")
    assert states == [("COMPLETED", TASKS)]
    assert events == 3 * TASKS
    used.process.wait(patience(30))
    assert server_left() is None


def test_how_long_servers_linger_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    assert lingers_s() == 0
    monkeypatch.setenv(VARIABLE, "a while")
    with pytest.raises(SettingsError, match=f"{VARIABLE} is 'a while': write seconds"):
        lingers_s()
