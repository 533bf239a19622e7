"""Runs are killed, and the next one makes good what they left: the short form of `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration import publish_chaos
from tests.integration.chaos import chaos
from tests.s3 import Server

pytest_plugins = ["tests.s3"]
pytestmark = pytest.mark.integration


def test_a_killed_run_costs_nothing_but_its_time(aws: Server, prefect: None, tmp_path: Path) -> None:
    *_, figures = chaos(tmp_path, aws, kills=2, seed=11, both=False)
    assert figures["reruns_equal_to_an_undisturbed_run"] == 2


def test_a_night_killed_over_its_large_tables_leaves_nothing_in_part(
    demo_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "models").symlink_to(demo_models)
    *_, figures = publish_chaos.chaos(tmp_path, kills=1, seed=7)
    assert figures["kills"] == 1
