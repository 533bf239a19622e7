"""A job as callers see it."""

from __future__ import annotations

from typing import Any

from hookline.api.access.places import Places
from hookline.api.contract.problems import Problem, ProblemDetails, of_failure
from hookline.api.jobs.interface import Jobs
from hookline.api.jobs.job import Job, Status
from hookline.api.service.models import JobView


def view(job: Job, *, jobs: Jobs, places: Places, base: str = "/", joined: bool = False) -> dict[str, Any]:
    """The job as JSON; its URLs begin with `base`."""
    place = f"{base}jobs/{job.id}"
    progress = job.progress.view()
    runs = job.status == Status.RUNNING
    shown = JobView(
        id=job.id,
        status=job.status,
        video_path=job.video_path,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        queue_position=jobs.position(job),
        stage=progress.stage if runs else None,
        done=progress.done if runs else None,
        total=progress.total if runs else None,
        percent=100 if job.status == Status.SUCCEEDED else progress.percent if runs else 0,
        canceling=job.is_canceling and not job.is_final,
        joined=joined,
        problem=ProblemDetails(**problem_of(job, places).body()) if job.status == Status.FAILED else None,
        status_url=place,
        result_url=f"{place}/result",
        cancel_url=place,
    )
    return shown.model_dump(mode="json", exclude={"problem": {"errors"}})


def problem_of(job: Job, places: Places) -> Problem:
    """Why a job failed."""
    return of_failure(job.reason, job.kind, places.redacted(job.detail))
