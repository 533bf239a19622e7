"""The progress of a run on its page in the Prefect UI, for runs that nobody watches in a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.runtime import flow_run

from tasks.core.views import run_page
from tasks.run.labels import CONTENT, PROGRESS, labels, note
from tasks.run.progress import COUNTED, NO_PROGRESS, Counts, current_progress

PERIOD_S = 5.0
"""Seconds between updates."""

FINISH_TIMEOUT_S = 10.0
"""Seconds that the end of a run waits for the last update."""


class ArtifactProgress(Counts):
    """Counts the progress; a thread of its own writes it to one artifact.

    A write that fails is tried again after the next period. The run does not wait for it.
    """

    def __init__(self, flow_run_id: UUID, *, period_s: float = PERIOD_S) -> None:
        super().__init__()
        self._flow_run_id, self._period_s = flow_run_id, period_s
        self._labels, self._steps = labels(), list[str]()
        self._over, self._began = threading.Event(), time.monotonic()
        self._artifact_id: UUID | None = None
        self._written: tuple[object, ...] = ()
        # The server of the run is known only in its context: without it, Prefect would start another.
        work = (self._write_now_and_then,)
        self._thread = threading.Thread(target=copy_context().run, args=work, name="progress", daemon=True)
        self._thread.start()

    def begin(self, step: str) -> None:
        with self._lock:
            self._steps.append(step)

    def end(self, step: str) -> None:
        with self._lock:
            self._steps.remove(step)

    def finish(self) -> None:
        """Write the last counts."""
        self._over.set()
        self._thread.join(FINISH_TIMEOUT_S)

    def _write_now_and_then(self) -> None:
        over = False
        while not over:
            over = self._over.wait(self._period_s)
            try:
                self._write()
            except Exception:
                continue  # no progress is shown for a while, and the run goes on

    def _write(self) -> None:
        with self._lock:
            done, expected, steps = dict(self._done), dict(self._expected), tuple(self._steps)
        state = (*done.values(), *expected.values(), *steps)
        if state == self._written or not (steps or any(expected.values())):
            return
        text = run_page.progress(done, expected, steps, elapsed_s=time.monotonic() - self._began)
        with get_client(sync_client=True) as client:
            if self._artifact_id:
                client.update_artifact(self._artifact_id, ArtifactUpdate(data=text))
            else:
                self._artifact_id = client.create_artifact(
                    ArtifactCreate(
                        key="progress",
                        type="markdown",
                        description="How far the run is",
                        data=text,
                        flow_run_id=self._flow_run_id,
                    )
                ).id
        if CONTENT in self._labels:
            counts = (f"{what}={done[what]}/{expected[what]}" for what in COUNTED)
            note(self._flow_run_id, {PROGRESS: " ".join(counts)})
        self._written = state


@contextmanager
def progress_on_the_page(*, period_s: float = PERIOD_S) -> Iterator[None]:
    """Show the progress of the flow in the block, unless somebody watches it already."""
    flow_run_id = flow_run.id
    if current_progress.get() is not NO_PROGRESS or not flow_run_id:
        yield
        return
    shown = ArtifactProgress(UUID(flow_run_id), period_s=period_s)
    token = current_progress.set(shown)
    try:
        yield
    finally:
        current_progress.reset(token)
        shown.finish()
