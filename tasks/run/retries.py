"""What is tried again: that which can pass. A wrong setting or a refused video will not."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State

from tasks.core.errors import HooklineError, StorageError, WorkerLost

WORK_RETRY_SECONDS: list[float] = [1, 10]
"""Between tries of work on a GPU. What a lost worker had finished is not done again."""


def is_transient(error: object) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, StorageError):
        return error.retryable
    return isinstance(error, WorkerLost) or not isinstance(error, HooklineError)


def retry_if_transient(_task: Any, _task_run: Any, state: State[Any]) -> bool:
    """Prefect's `retry_condition_fn` for every task that raises."""
    return is_transient(state.result(raise_on_failure=False))
