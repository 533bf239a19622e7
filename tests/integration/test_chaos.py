"""Runs are killed, and the next one makes good what they left: the short form of `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.chaos import chaos
from tests.s3 import Server

pytest_plugins = ["tests.s3"]
pytestmark = pytest.mark.integration


def test_a_killed_run_costs_nothing_but_its_time(aws: Server, prefect: None, tmp_path: Path) -> None:
    *_, figures = chaos(tmp_path, aws, kills=2, seed=11, both=False)
    assert figures["reruns_equal_to_an_undisturbed_run"] == 2
