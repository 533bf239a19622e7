"""Old runs are removed from a Prefect server: rankings, manifests and reports do not lie there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

FLOWS = ("rank-videos", "evaluate-nights", "train-scorer", "tune-judge", "remove-history")
"""Ours: a server may know others."""

KEEP_DAYS = 90
"""So long a server that runs for itself keeps what there was."""

PAGE = 50

FIRST_S, AGAIN_S, DAY_S = 5, 3600, 24 * 3600
"""A server looks whether a day is over soon after its start, and then each hour."""


async def daily(api_url: str, done: Path) -> None:
    """Remove the old runs of a server once a day, as long as it runs; `done` is a file that says when."""
    await asyncio.sleep(FIRST_S)
    with temporary_settings({PREFECT_API_URL: api_url}):
        while True:
            with suppress(OSError, httpx.HTTPError):  # tomorrow
                if not done.exists() or time.time() - done.stat().st_mtime > DAY_S:
                    done.touch()
                    async with get_client() as client:
                        await remove_old_runs(client, before=datetime.now(UTC) - timedelta(days=KEEP_DAYS))
            await asyncio.sleep(AGAIN_S)


async def remove_old_runs(client: PrefectClient, *, before: datetime) -> int:
    """Remove the runs that ended before, with task runs, states, logs and artifacts; returns how many."""
    removed = 0
    async for run in runs_ended(client, before=before):
        await remove(run, client)
        removed += 1
    return removed


async def runs_ended(client: PrefectClient, *, before: datetime) -> AsyncIterator[FlowRun]:
    """The runs to remove; the next ones are asked for when these are gone."""
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    ended = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime(before_=before),
    )
    while runs := await client.read_flow_runs(flow_filter=ours, flow_run_filter=ended, limit=PAGE):
        for run in runs:
            yield run


async def remove(run: FlowRun, client: PrefectClient) -> None:
    """Remove a run; its artifacts first, which are found by it. What somebody else removed is gone."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    while artifacts := await client.read_artifacts(artifact_filter=of_run, limit=PAGE):
        for artifact in artifacts:
            with suppress(ObjectNotFound):
                await client.delete_artifact(artifact.id)
    with suppress(ObjectNotFound):
        await client.delete_flow_run(run.id)
