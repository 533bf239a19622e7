"""How a run ends is said once, in words."""

from __future__ import annotations

import logging

import pytest
from prefect.exceptions import FailedRun

import tasks.run.outcome  # noqa: F401


@pytest.mark.parametrize(
    ("error", "told"), [(FailedRun("Wrong settings"), False), (ValueError("a bug"), True)]
)
def test_a_failed_run_has_no_traceback_in_its_log_but_an_error_has(error: Exception, told: bool) -> None:
    log = logging.getLogger("prefect.flow_runs")
    message = "Engine execution exited with unexpected exception"
    line = log.makeRecord(log.name, logging.ERROR, __file__, 1, message, (), (type(error), error, None))
    assert bool(log.filter(line)) is told
