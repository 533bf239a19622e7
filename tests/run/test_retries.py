"""What can pass is tried again; what cannot is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow, unmapped
from prefect.context import TaskRunContext
from prefect.runtime import task_run

from tasks.core.errors import ModelError, ObjectChanged, SettingsError, StorageError, WorkerLost
from tasks.core.records import Timeline, VideoRef
from tasks.run.retries import SHORT_S, attempt, is_transient, result_for, retried, tried


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


class Watched(tuple[int, ...]):
    """Knows how often somebody has looked at what is in it."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        Watched.looks += 1
        return super().__iter__()


@pytest.mark.usefixtures("prefect")
def test_prefect_looks_into_no_argument_of_a_task_and_knows_where_it_is_from() -> None:
    """Of the words of a talk of ten hours it would look at each one, twice for each batch of windows."""
    taken: list[Any] = []

    @retried("make", pauses_s=())
    def make() -> dict[str, Watched]:
        return {"words": Watched((1, 2, 3))}

    @retried("take", run_name="take {one[words]}", pauses_s=())
    def take(one: dict[str, Watched], other: Watched) -> None:
        context = TaskRunContext.get()
        assert context
        taken.append((one["words"], other, context.task_run.name, any(context.task_run.task_inputs.values())))

    @flow
    def taking() -> None:
        made, other = make(), Watched((4,))
        take(made, other=other)
        take.submit(made, other).wait()
        take.map([made, made], unmapped(other)).wait()

    taking()
    assert taken == [((1, 2, 3), (4,), "take (1, 2, 3)", True)] * 4
    assert Watched.looks == 0


def seen_by(seconds: float) -> tuple[list[int], list[str]]:
    """The tries of a step of a video so long, which fails twice, and the task runs that it made."""
    attempts: list[int] = []
    task_runs: list[str] = []

    @retried("ask", pauses_s=(0, 0))
    def ask(name: str) -> str:
        attempts.append(attempt())
        task_runs.extend(filter(None, [task_run.name]))
        if attempt() <= 2:
            raise StorageError("503", reason="throttled")
        return f"answer to {name}"

    timeline = Timeline(VideoRef("file:///video.mp4", "", 1), "", 40, 8, 56, 56, seconds, "none")

    @flow
    def asking() -> str:
        return result_for(timeline, ask, "me")

    assert asking() == "answer to me"
    return attempts, task_runs


@pytest.mark.usefixtures("prefect")
@pytest.mark.logs_error
def test_what_is_tried_again_without_a_task_run_names_its_video(caplog: pytest.LogCaptureFixture) -> None:
    @retried("ask", pauses_s=(0,))
    def ask(video: VideoRef) -> int:
        if (number := attempt()) == 1:
            raise StorageError("503", reason="throttled")
        return number

    @flow
    def asking() -> int:
        return tried(ask, VideoRef("file:///video.mp4", "", 1))

    assert asking() == 2
    assert "ask of file:///video.mp4: StorageError: tried again in 0 s" in caplog.messages


@pytest.mark.usefixtures("prefect")
@pytest.mark.logs_error
def test_a_step_of_a_short_video_is_tried_again_without_a_task_run() -> None:
    assert seen_by(SHORT_S) == ([1, 2, 3], [])
    attempts, task_runs = seen_by(SHORT_S + 1)
    assert attempts == [1, 2, 3]
    assert len(task_runs) == 3


@pytest.mark.usefixtures("prefect")
def test_what_cannot_pass_is_not_tried_again_without_a_task_run_either() -> None:
    attempts: list[int] = []

    @retried("ask", pauses_s=(0, 0))
    def ask() -> None:
        attempts.append(attempt())
        raise ModelError("no weights")

    with pytest.raises(ModelError):
        tried(ask)
    assert attempts == [1]
