"""A job as a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from hookline.api.access.callers import identified
from hookline.api.jobs.job import Job
from hookline.api.routes.jobs import JobId, TheService, job_of, problems, view

LOOK_EVERY_S = 0.5

router = APIRouter(dependencies=[Depends(identified)], responses=problems(401, 429))


def watched(job_id: JobId, service: TheService) -> Job:
    """The job, looked for before the stream begins: then it is too late for a 404."""
    return job_of(job_id, service)


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses=problems(404, 422, 503),
    summary="Watch a job",
)
async def watch_job(
    job: Annotated[Job, Depends(watched)], request: Request, service: TheService
) -> AsyncIterator[ServerSentEvent]:
    """An event `progress` whenever something has changed, and `ended` when the job is final."""
    count, shown = 0, None
    done = asyncio.wrap_future(job.done)
    while True:
        ended, now = job.is_final, view(job, request, service)
        if now != shown:
            count, shown = count + 1, now
            yield ServerSentEvent(data=now, event="ended" if ended else "progress", id=str(count))
        if ended or service.jobs.is_draining:  # an open stream would hold up the end of the service
            return
        await asyncio.wait([done], timeout=LOOK_EVERY_S)
