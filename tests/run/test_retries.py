"""What can pass is tried again; what cannot is not."""

from __future__ import annotations

import pytest
from prefect import flow

from tasks.core.errors import ModelError, ObjectChanged, SettingsError, StorageError, WorkerLost
from tasks.run.retries import attempt, is_transient, retried


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StorageError("503", reason="throttled"), True),
        (StorageError("403", reason="denied", retryable=False), False),
        (ObjectChanged("replaced"), False),
        (SettingsError("no such head"), False),
        (ModelError("no weights"), False),
        (WorkerLost("died"), True),
        (ConnectionResetError("reset"), True),
    ],
    ids=repr,
)
def test_whether_an_error_may_pass(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected


@pytest.mark.usefixtures("prefect")
@pytest.mark.logs_error
def test_a_task_is_tried_again_after_each_pause_and_only_if_that_can_help() -> None:
    errors = {"busy": StorageError("503", reason="throttled"), "gone": ModelError("no weights")}
    attempts: dict[str, list[int]] = {name: [] for name in errors}

    @retried("ask", run_name="ask {name}", pauses_s=(0, 0))
    def ask(name: str) -> None:
        attempts[name].append(attempt())
        raise errors[name]

    @flow
    def asking() -> str:
        return "".join(ask(name, return_state=True).type.value for name in errors)

    assert asking() == "FAILEDFAILED"
    assert attempts == {"busy": [1, 2, 3], "gone": [1]}
