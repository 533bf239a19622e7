"""Tests touch nobody's Prefect, and begin with the files that take longest."""

from __future__ import annotations

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
