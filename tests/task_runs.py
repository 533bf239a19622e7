"""The task runs that a Prefect server knows of a run."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_URL

from hookline.embedded import flush
from hookline.lingering import answer


def task_runs(flow_run_id: UUID | None) -> list[str]:
    """Their names, once all is recorded that this process has told."""
    assert flow_run_id
    address = str(PREFECT_API_URL.value())
    assert flush(address) == ""
    assert answer(urlsplit(address).port or 0, "POST", within_s=60) is True
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        return [each.name for each in client.read_task_runs(flow_run_filter=of_run, limit=200)]
