"""Suspend ends a run whatever it waits for: also one call that goes on for minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import pytest
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Suspended

from flows.rank_videos import rank_videos
from tasks.adapters.workers.processes import InProcess
from tasks.core.errors import RunEnded
from tasks.run.host import Host, current_host
from tasks.run.retries import SHORT_S
from tasks.work.models import check_fast_model, find_backend, window_features
from tests.library import quick_settings
from tests.media import numbered_video
from tests.waiting import patience

T = TypeVar("T")


class SuspendedIn(InProcess):
    """Such calls hear that the run is suspended, and go on until their worker is told that the run ended."""

    def __init__(self, call: Callable[..., object]) -> None:
        self.call_that_stands, self.ended, self.were_told = call, Event(), list[bool]()

    def call(self, work: Callable[..., T], *args: Any, gpu: bool = True, prefer: str = "") -> T:
        if work is not self.call_that_stands:
            return super().call(work, *args)
        context = FlowRunContext.get()
        assert context
        context.flow_run_suspension_request.mark_requested(Suspended())
        self.were_told.append(self.ended.wait(patience(30)))
        raise RunEnded("The run was suspended.")

    def broadcast(self, work: Callable[..., object], *args: Any) -> None:
        self.ended.set()


@pytest.mark.usefixtures("prefect")
@pytest.mark.logs_error
@pytest.mark.parametrize("call", [find_backend, check_fast_model, window_features])
def test_a_suspended_run_does_not_wait_for_a_call(
    call: Callable[..., object], tmp_path: Path, demo_models: Path
) -> None:
    numbered_video(tmp_path / "video.mp4", seconds=int(SHORT_S) + 10)
    settings = quick_settings(tmp_path, tmp_path / "output", demo_models)
    workers = SuspendedIn(call)
    token = current_host.set(Host(workers, library=settings.output))
    try:
        with pytest.raises(Pause):
            rank_videos(settings)
    finally:
        current_host.reset(token)
    assert set(workers.were_told) == {True}  # of the windows, several batches may have been begun
