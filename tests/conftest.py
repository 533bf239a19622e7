"""What all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from hookline.demo_models import write_demo_models

# How long an example takes says more of the machine than of the code.
settings.register_profile("hookline", deadline=None)
settings.load_profile("hookline")


@pytest.fixture(scope="session")
def demo_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small untrained checkpoints: `videomae` and `videollama3`."""
    folder = tmp_path_factory.mktemp("demo-models")
    write_demo_models(folder)
    return folder


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """A Prefect server for the whole session, with a database of its own."""
    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(autouse=True)
def _no_error_is_logged(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A test that passes logs no ERROR, unless it is about one."""
    yield
    if not request.node.get_closest_marker("logs_error"):
        errors = [
            record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR
        ]
        assert not errors
