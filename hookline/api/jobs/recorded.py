"""A job as its flow run tells it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hookline.api.jobs.interface import Wanted
from hookline.api.jobs.job import Job, Status
from tasks.core.records import VideoRef
from tasks.core.settings import Settings
from tasks.run.labels import CONTENT, DETAIL, KIND, REASON, RUN_ID, WHOLE

VIDEO_PATH, ETAG, REQUEST = "hookline.video_path", "hookline.video_etag", "hookline.request"

DEATHS = "hookline.deaths"
"""By their states: the times that what ran a job died."""

MAX_DEATHS = 3
"""A job under which so much has died fails."""


def labels_of(wanted: Wanted) -> dict[str, str]:
    """What the run of a job says of it beside its settings."""
    return {
        VIDEO_PATH: wanted.video_path,
        ETAG: wanted.video.etag,
        CONTENT: wanted.content,
        REQUEST: wanted.request_id,
    }


def deaths_of(run: Mapping[str, Any], began: str) -> list[str]:
    """How often this run has lost what ran it: by the states in which it began, the last of which is `began`.

    So a death counts once, however often it is reported, and whoever counts it.
    """
    return [*dict.fromkeys([*run["labels"].get(DEATHS, "").split(), began])]


def loaded(run: Mapping[str, Any]) -> Job:
    """The job of a run. Without a note of what came of it, it is still to be done."""
    labels, settings = run["labels"], Settings.model_validate(run["parameters"]["settings"])
    status = Status.QUEUED
    if run["state_type"] in ("CANCELLED", "CANCELLING"):
        status = Status.CANCELED
    elif labels.get(REASON):
        status = Status.FAILED
    elif labels.get(RUN_ID):
        status = Status.SUCCEEDED
    return Job(
        id=run["id"],
        video=VideoRef(settings.source, labels.get(ETAG, ""), 0),
        video_path=labels.get(VIDEO_PATH, ""),
        settings=settings,
        content=labels.get(CONTENT, ""),
        created_at=datetime.fromisoformat(run["created"]),
        request_id=labels.get(REQUEST, ""),
        status=status,
        started_at=time_of(run["start_time"]),
        ended_at=time_of(run["end_time"]),
        run_id=labels.get(RUN_ID, ""),
        reason=labels.get(REASON, ""),
        kind=labels.get(KIND, ""),
        detail=labels.get(DETAIL, ""),
        is_whole=labels.get(WHOLE) != "no",
    )


def time_of(text: str | None) -> datetime | None:
    """A time as the server writes it."""
    return datetime.fromisoformat(text) if text else None
