"""Ranking a video, at once or as a job."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from functools import partial
from itertools import dropwhile, islice
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from hookline.api.access.callers import identified
from hookline.api.contract.problems import MEDIA_TYPE, Draining, Problem, ProblemDetails
from hookline.api.contract.request_id import current_request
from hookline.api.jobs.job import Job, Status
from hookline.api.service.models import Answer, Ask, JobList, JobView
from hookline.api.service.service import Service
from hookline.api.service.views import view as view_of

DRAIN_POLL_S = 0.5

_WAIT = re.compile(r"wait=(\d{1,9})")


async def service_of(request: Request) -> Service:
    """The service that the application was made for."""
    service: Service = request.app.state.service
    return service


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How these statuses are documented."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {"model": ProblemDetails, "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


router = APIRouter(dependencies=[Depends(identified)], responses=problems(401, 429))
TheService = Annotated[Service, Depends(service_of)]
JobId = Annotated[str, Path(max_length=64, description="The id of a job.")]
Prefer = Annotated[
    str | None,
    Header(description="`respond-async` for 202 at once, `wait=N` for 202 after N seconds (RFC 7240)."),
]
Key = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A request that is repeated with the same key, within 24 hours, gets the same job.",
    ),
]
ASKING = problems(400, 403, 404, 409, 413, 415, 422, 429, 503)
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": JobView,
        "description": "The job is under way: its place is in `Location`.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}


@router.post(
    "/analyze_timeline_path",
    response_model=Answer,
    responses=ASKING | ACCEPTED | problems(410),
    summary="Rank a video and wait for the answer",
)
async def analyze_timeline_path(
    ask: Ask, request: Request, service: TheService, prefer: Prefer = None, idempotency_key: Key = None
) -> JSONResponse:
    """The answer to a video, in the words of the old API; a caller who leaves finds the job under /jobs."""
    job, joined = await _submitted(ask, request, service, key=idempotency_key)
    wait_s, applied = preferred(prefer, otherwise_s=service.serve.wait_seconds)
    headers = {"Preference-Applied": applied} if applied else {}
    if not await _is_done(job, service, within_s=wait_s):
        return _accepted(job, request, service, joined=joined, headers=headers)
    answer = await run_in_threadpool(service.answer, job, video_path=ask.video_path)
    return JSONResponse(answer, headers=headers)


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    responses=ASKING | ACCEPTED,
    summary="Have a video ranked",
)
async def create_job(
    ask: Ask, request: Request, service: TheService, idempotency_key: Key = None
) -> JSONResponse:
    """Queues a job. A video that is being ranked under the same settings gets the job that is there."""
    job, joined = await _submitted(ask, request, service, key=idempotency_key)
    return _accepted(job, request, service, joined=joined)


@router.get("/jobs", response_model=JobList, responses=problems(422, 503), summary="List jobs")
def list_jobs(
    request: Request,
    service: TheService,
    video_path: Annotated[str | None, Query(max_length=4096)] = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[str | None, Query(max_length=64, description="The job after which to go on.")] = None,
) -> JSONResponse:
    """Jobs, the newest first."""
    known = iter(service.jobs.list(video_path=video_path))
    if before is not None:
        known = islice(dropwhile(lambda job: job.id != before, known), 1, None)
    every = (job for job in known if status in (None, job.status))
    found = [*islice(every, limit + 1)]
    shown, more = found[:limit], len(found) > limit
    following = str(request.url.include_query_params(before=shown[-1].id)) if more else None
    return JSONResponse({"jobs": [view(job, request, service) for job in shown], "next": following})


@router.get(
    "/jobs/{job_id}", response_model=JobView, responses=problems(404, 422, 503), summary="Look at a job"
)
def get_job(job_id: JobId, request: Request, service: TheService) -> JSONResponse:
    """How far a job is."""
    job = job_of(job_id, service)
    wait = {} if job.is_final else {"Retry-After": str(service.jobs.retry_after_s(job))}
    return JSONResponse(view(job, request, service), headers=wait)


@router.get(
    "/jobs/{job_id}/result",
    response_model=Answer,
    responses=problems(403, 404, 409, 410, 413, 415, 422, 503),
    summary="The answer of a job",
)
def get_result(job_id: JobId, service: TheService) -> JSONResponse:
    """The ranking of a job that succeeded; otherwise a problem says what became of it."""
    job = job_of(job_id, service)
    return JSONResponse(service.answer(job, video_path=job.video_path))


@router.delete(
    "/jobs/{job_id}", response_model=JobView, responses=problems(404, 422, 503), summary="Cancel a job"
)
def cancel_job(job_id: JobId, request: Request, service: TheService) -> JSONResponse:
    """Ends the work on a job within seconds; one that is final stays as it is."""
    job = job_of(job_id, service)
    service.jobs.cancel(job)
    return JSONResponse(view(job, request, service))


def preferred(prefer: str | None, *, otherwise_s: float) -> tuple[float, str]:
    """Seconds to wait for an answer, and which preference that honours.

    >>> preferred("respond-async, wait=5", otherwise_s=60)
    (5, 'wait=5')
    """
    wishes = [wish.strip().lower() for wish in (prefer or "").split(",")]
    for wish in wishes:
        if found := _WAIT.fullmatch(wish):
            return min(int(found[1]), otherwise_s), wish
    return (0, "respond-async") if "respond-async" in wishes else (otherwise_s, "")


def view(job: Job, request: Request, service: Service, *, joined: bool = False) -> dict[str, Any]:
    """A job as this caller sees it, with URLs that begin as theirs did."""
    base = str(request.base_url)
    return view_of(job, jobs=service.jobs, places=service.places, base=base, joined=joined)


async def _submitted(ask: Ask, request: Request, service: Service, *, key: str | None) -> tuple[Job, bool]:
    about = {"request_id": current_request.get(), "caller": request.state.caller}
    submit = partial(service.submit, ask, key=key, **about)
    return await to_thread.run_sync(submit, limiter=request.app.state.submitting)


def job_of(job_id: str, service: Service) -> Job:
    """A job by its id.

    Raises:
        Problem: there is none.
    """
    job = service.job(job_id)
    if job is None:
        raise Problem(404, "no_such_job", "There is no such job.")
    return job


def _accepted(
    job: Job, request: Request, service: Service, *, joined: bool, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    shown = view(job, request, service, joined=joined)
    place = {"Location": shown["status_url"]}
    wait = {} if job.is_final else {"Retry-After": str(service.jobs.retry_after_s(job))}
    return JSONResponse(shown, 202, headers={**place, **wait, **(headers or {})})


async def _is_done(job: Job, service: Service, *, within_s: float) -> bool:
    """Whether the job becomes final within this time.

    Raises:
        Draining: the service is being stopped, and the job waits for its restart.
    """
    done, clock = asyncio.wrap_future(job.done), asyncio.get_running_loop().time
    ends_at, leaves_at = clock() + within_s, math.inf
    job.waiting += 1
    try:
        while not done.done() and (left_s := ends_at - clock()) > 0:
            if service.jobs.is_draining:
                leaves_at = min(leaves_at, clock() + service.serve.shutdown_seconds)
                if job.status == Status.QUEUED or clock() >= leaves_at:
                    raise Draining
            await asyncio.wait([done], timeout=min(left_s, DRAIN_POLL_S))
    finally:
        job.waiting -= 1
    return done.done()
