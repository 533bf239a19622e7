"""What callers are told when something is not done: problem details after RFC 9457.

The last part of a `type` is a code of `failures.reason`, or one of those here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

MEDIA_TYPE = "application/problem+json"

STATUS_OF_REASON = {
    "not_found": 404,
    "changed": 409,
    "too_large": 413,
    **dict.fromkeys(("denied", "no_credentials"), 403),
}
"""Where it is neither 415, for a file that will be refused again, nor 503, for what may work later."""


class ProblemDetails(BaseModel):
    """What went wrong."""

    type: str = Field(examples=["/problems/not_found"], description="Ends in a short stable code.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no such video."], description="What was found, and what to do.")
    errors: list[dict[str, str]] | None = Field(
        None, description="Each wrong parameter by its name.", examples=[[{"name": "top_n", "detail": "..."}]]
    )


class Problem(Exception):
    """A request that is not answered as it was meant; becomes a response with problem details."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after_s: int | None = None,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors = status, code, detail, errors
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    def body(self) -> dict[str, Any]:
        """The response's JSON."""
        details = ProblemDetails(
            type=f"/problems/{self.code}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            errors=self.errors,
        )
        return details.model_dump(exclude_none=True)


class QueueFull(Problem):
    """No more jobs are taken for now."""

    def __init__(self, waiting: int, *, retry_after_s: int) -> None:
        detail = f"As many jobs wait as serve.max_queued allows ({waiting}): come back later."
        super().__init__(429, "queue_full", detail, retry_after_s=retry_after_s)


class Draining(Problem):
    """The service is being stopped."""

    def __init__(self) -> None:
        detail = (
            "The service is being stopped. Jobs that were accepted are kept: ask again after the restart, "
            "with the same Idempotency-Key."
        )
        super().__init__(503, "draining", detail, retry_after_s=10)


def of_failure(reason: str, kind: str, detail: str) -> Problem:
    """The problem of a job that failed: `kind` is that of `failures`."""
    if reason in STATUS_OF_REASON:
        return Problem(STATUS_OF_REASON[reason], reason, detail)
    if kind == "rejected":
        return Problem(415, reason, detail)
    return Problem(503, reason, detail, retry_after_s=60)
