"""Labels of a flow run on its server: what programs tell it, and what it tells programs.

A job of the HTTP service that runs elsewhere is known by them, wherever somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from tasks.core.errors import HooklineError
from tasks.run.host import current_host

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

CONTENT = "hookline.content"
"""All that decides the result of a job: what has it is one."""

LIBRARY = "hookline.library"
"""The output of which a job recalls what is known of its video."""

RUN_ID, WHOLE = "hookline.run_id", "hookline.whole"
"""Under which id a run has published, and whether all of its candidates were answered."""

REASON, KIND, DETAIL = "hookline.reason", "hookline.kind", "hookline.detail"
"""Why there is no result, as in `failures`."""

PROGRESS = "hookline.progress"
"""What is counted, what of it is done, and how much is expected: `windows=3/12 segments=0/4`."""

MAX_DETAIL = 2000
"""Characters: the server has the labels of a run in one column."""


def labels() -> Mapping[str, Any]:
    """Those of the flow run that this is called in, as they were when it began; none outside of one."""
    context = FlowRunContext.get()
    return (context and context.flow_run and context.flow_run.labels) or {}


def note(flow_run_id: UUID, about: Mapping[str, str]) -> None:
    """Add labels to a flow run."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(flow_run_id, dict(about))


def note_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A hook of the flow: say why it failed, if it is a job of a deployment and has published nothing."""
    if CONTENT not in flow_run.labels or current_host.get():
        return
    error = state.result(raise_on_failure=False)
    if isinstance(error, HooklineError):
        why = {REASON: getattr(error, "reason", "settings"), KIND: "failed", DETAIL: str(error)[:MAX_DETAIL]}
    elif isinstance(error, BaseException):
        why = {REASON: "unexpected", KIND: "failed", DETAIL: f"The job failed ({type(error).__name__})."}
    elif not isinstance(error, dict):
        why = {REASON: "not_a_video", KIND: "rejected", DETAIL: (state.message or "")[:MAX_DETAIL]}
    else:
        return
    note(flow_run.id, why)
