"""Tests of steps, which most of them call without a flow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.logging import disable_run_logger


@pytest.fixture
def without_a_run() -> Iterator[None]:
    """Steps are called outside of a flow run: their log lines go nowhere."""
    with disable_run_logger():
        yield
