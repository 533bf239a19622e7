"""What operators ask: does it live, does it take jobs, what does it have loaded."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from typing import Literal

import psutil
from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from hookline.api.contract.problems import Draining, Problem
from hookline.api.jobs.interface import Jobs
from hookline.api.jobs.job import Status
from hookline.api.routes.jobs import TheService, problems
from hookline.api.service.models import Alive, Health

router = APIRouter()


@router.get("/health", response_model=Health, summary="What the service is doing")
async def health(service: TheService) -> JSONResponse:
    """Answered from memory: it says nothing of the store and of the models but what was seen of them."""
    shown = Health(
        status=_status(service.jobs),
        device=service.machine.device,
        videomae_loaded=service.machine.videomae_loaded,
        videollama3_loaded=service.machine.videollama3_loaded,
        free_memory_bytes=int(psutil.virtual_memory().available),
        queue_length=service.jobs.tally().get(Status.QUEUED, 0),
        versions=_versions(),
        whisper_loaded=service.machine.whisper_loaded,
    )
    return JSONResponse(shown.model_dump())


@router.get("/livez", response_model=Alive, summary="Whether the process answers")
async def livez() -> dict[str, str]:
    """For a liveness probe."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Alive, responses=problems(503), summary="Whether jobs are taken")
async def readyz(service: TheService) -> dict[str, str]:
    """For a readiness probe."""
    if service.jobs.is_draining:
        raise Draining
    if not service.jobs.is_connected:
        raise Problem(503, "unavailable", "The Prefect server is not there now.", retry_after_s=10)
    if not service.known.has_looked:
        raise Problem(503, "unavailable", "The last ranking is being read.", retry_after_s=1)
    return {"status": "ok"}


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {CONTENT_TYPE_LATEST.partition(";")[0]: {"schema": {"type": "string"}}}}},
    summary="Counters and gauges for Prometheus",
)
async def metrics(service: TheService) -> Response:
    """In the text format, from memory."""
    return Response(service.metrics.page(service.jobs, service.machine), media_type=CONTENT_TYPE_LATEST)


def _status(jobs: Jobs) -> Literal["healthy", "draining", "unavailable"]:
    if jobs.is_draining:
        return "draining"
    return "healthy" if jobs.is_connected else "unavailable"


@cache
def _versions() -> dict[str, str]:
    names = ("hookline", "prefect", "torch", "transformers", "fastapi")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
