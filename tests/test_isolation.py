"""Tests touch nobody's Prefect, call no other host, and begin with the files that take longest."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from tests import ROOT


def test_without_the_fixture_what_needs_a_server_fails() -> None:
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(ValueError, match="No Prefect API URL"):
        get_client()


def test_the_home_of_prefect_is_not_that_of_whoever_runs_the_tests() -> None:
    assert PREFECT_HOME.value() != Path.home() / ".prefect"


def test_the_files_to_begin_with_are_there(request: pytest.FixtureRequest) -> None:
    plugins = [plugin for _, plugin in request.config.pluginmanager.list_name_plugin()]
    (slowest,) = [plugin.SLOWEST_FIRST for plugin in plugins if hasattr(plugin, "SLOWEST_FIRST")]
    assert [name for name in slowest if not (ROOT / "tests" / name).is_file()] == []


LOOK_UP = """
import socket
try:
    socket.getaddrinfo("telemetry.invalid", 443)
except OSError:
    pass
"""


@pytest.mark.parametrize("here", [True, False], ids=["in this process", "in one it started"])
def test_a_look_up_of_another_host_is_written_down(here: bool) -> None:
    record = Path(os.environ["HOOKLINE_TEST_OTHER_HOSTS"])
    if here:
        exec(LOOK_UP)
    else:
        subprocess.run([sys.executable, "-c", LOOK_UP], check=True)
    written = record.read_text()
    record.write_text("")  # or this test would fail of it
    assert re.match(r"telemetry\.invalid by .* in .*test_a_look_up_of_another_host_is_written_down", written)
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    assert not record.read_text()
