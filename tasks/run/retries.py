"""What is tried again, and when: only what may succeed later. A wrong setting or a refused video will not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

from prefect import Task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectConcurrentFuture
from prefect.runtime import task_run
from prefect.utilities.annotations import opaque

from tasks.core.errors import HooklineError, StorageError, WorkerLost
from tasks.core.names import legible
from tasks.core.records import Timeline, VideoRef
from tasks.run.logs import log_event, run_log
from tasks.run.suspension import result_of

P = ParamSpec("P")
R = TypeVar("R")

STORAGE_PAUSES_S = (2, 10)
WORK_PAUSES_S = (1, 10)
"""Pauses before each new try of work on a GPU. What a lost worker had finished is not done again."""

SHORT_S = 60.0
"""No step of a video of this length at most is a task run: those of a night would be counted by its videos,
and not by its work. One costs the server 8 ms and its database 20 KB."""

_attempt: ContextVar[int] = ContextVar("attempt", default=0)


@contextmanager
def go_on_without(stage: str, message: str, *, run_id: str) -> Iterator[None]:
    """What cannot be read is not worth a run: it goes on with a warning that begins with this message.

    Raises:
        StorageError: the store may answer later, and is asked again where this is `retried`.
    """
    try:
        yield
    except StorageError as error:
        if error.retryable:
            raise
        log_event(run_id, stage, f"{message} {error}", level=logging.WARNING)


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
    return _attempt.get() or task_run.run_count or 1


def tried(task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What a task returns, without a task run; it is tried again as in one."""
    number = 1
    while True:
        _attempt.set(number)
        try:
            return task.fn(*args, **kwargs)
        except Exception as error:
            if number > task.retries or not is_transient(error):
                raise
            pause_s = list(task.retry_delay_seconds)[number - 1]
            what = f"{task.name}{_video_of(*args, *kwargs.values())}"
            run_log().warning("%s: %s: tried again in %g s", what, type(error).__name__, pause_s)
        finally:
            _attempt.set(0)
        time.sleep(pause_s)
        number += 1


def _video_of(*arguments: object) -> str:
    """Which video a step is about, as a part of a sentence."""
    for each in arguments:
        if isinstance(each, VideoRef | Timeline):
            return f" of {legible((each.video if isinstance(each, Timeline) else each).label)}"
    return ""


def result_for(timeline: Timeline, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What a step returns for a video: from a task run of its own, unless the video is short.

    Raises:
        Pause: the run was suspended.
        Exception: what the step raised, on its last try.
    """
    if timeline.duration_s > SHORT_S:
        return result_of(task.submit(*args, **kwargs))
    pool = ThreadPoolExecutor(1, task.name)
    work = pool.submit(copy_context().run, partial(tried, task, *args, **kwargs))
    pool.shutdown(wait=False)
    return result_of(PrefectConcurrentFuture(uuid4(), work))


def is_transient(error: object) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, StorageError):
        return error.retryable
    return isinstance(error, WorkerLost) or not isinstance(error, HooklineError)


def _failed_in_passing(_task: Any, _task_run: Any, state: State[Any]) -> bool:
    return is_transient(state.result(raise_on_failure=False))
