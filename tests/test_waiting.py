"""Tests wait longer where others share the cores, and say why they waited in vain."""

from __future__ import annotations

import os
import time
from itertools import count

import pytest

from tests.waiting import patience, wait_for


@pytest.mark.parametrize(("load", "times"), [(0.5, 1), (2.0, 1), (15.0, 7.5)])
def test_patience_grows_with_the_load_of_each_core(
    load: float, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert patience(120) == 120 * times


def test_what_comes_late_is_waited_for_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine becomes busy while the test waits: 0.1 s become ten."""
    began = time.monotonic()
    busy = (100.0 * (os.cpu_count() or 1), 0.0, 0.0)
    monkeypatch.setattr(
        os, "getloadavg", lambda: busy if time.monotonic() - began > 0.05 else (0.0, 0.0, 0.0)
    )
    looks = count()
    assert wait_for(lambda: next(looks) > 10, 0.1)


def test_who_waits_in_vain_says_what_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    with pytest.raises(AssertionError, match="the log"):
        wait_for(lambda: None, 0.1, or_say=lambda: "the log")


def test_the_limit_of_a_test_is_patient_too(request: pytest.FixtureRequest) -> None:
    plugins = request.config.pluginmanager.get_plugins()
    hooks = [
        plugin.pytest_timeout_set_timer for plugin in plugins if hasattr(plugin, "pytest_timeout_set_timer")
    ]
    assert any(hook.__module__.endswith("conftest") for hook in hooks)
