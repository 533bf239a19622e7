"""What is tried again, and when: only what may succeed later. A wrong setting or a refused video will not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import task_run
from prefect.utilities.annotations import opaque

from tasks.core.errors import HooklineError, StorageError, WorkerLost

P = ParamSpec("P")
R = TypeVar("R")

STORAGE_PAUSES_S = (2, 10)
WORK_PAUSES_S = (1, 10)
"""Pauses before each new try of work on a GPU. What a lost worker had finished is not done again."""


class ClosedTask(Task[Any, Any]):
    """A task into whose arguments Prefect does not look.

    It looks for results of other tasks in them, twice for each call, and takes 15 us or more for each word
    of a video and each of its windows. Here no result lies within an argument.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*map(opaque, args), **_closed(kwargs))

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        return super().submit(*map(opaque, args), **_closed(kwargs))

    def map(self, *args: Any) -> Any:  # type: ignore[override]
        """A run for each item of the arguments that are not `unmapped`."""
        return super().map(
            *(
                unmapped(opaque(each.value)) if isinstance(each, unmapped) else [*map(opaque, each)]
                for each in args
            )
        )


def _closed(arguments: dict[str, Any]) -> dict[str, Any]:
    prefects = ("return_state", "wait_for")
    return {name: value if name in prefects else opaque(value) for name, value in arguments.items()}


def retried(
    name: str, *, run_name: str | None = None, pauses_s: Sequence[float] = STORAGE_PAUSES_S
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a Prefect task of a function: after an error that is transient, it is tried again."""

    def task_of(function: Callable[P, R]) -> Task[P, R]:
        return cast(
            "Task[P, R]",
            ClosedTask(
                function,
                name=name,
                task_run_name=run_name,
                retries=len(pauses_s),
                retry_delay_seconds=list(pauses_s),
                retry_condition_fn=_failed_in_passing,
                cache_policy=NO_CACHE,
            ),
        )

    return task_of


def attempt() -> int:
    """Which try of the current task this is, from 1."""
    return task_run.run_count or 1


def is_transient(error: object) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, StorageError):
        return error.retryable
    return isinstance(error, WorkerLost) or not isinstance(error, HooklineError)


def _failed_in_passing(_task: Any, _task_run: Any, state: State[Any]) -> bool:
    return is_transient(state.result(raise_on_failure=False))
