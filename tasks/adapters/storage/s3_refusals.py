"""What an S3 store says when it refuses a request, and what that means."""

from __future__ import annotations

import botocore.exceptions as boto

from tasks.core.names import tidy

_CODES = {
    "SlowDown": "throttled",
    "ExpiredToken": "denied",
    "InvalidToken": "denied",
    "TokenRefreshRequired": "denied",
    "RequestTimeTooSkewed": "clock_skew",
    "RequestTimeout": "unavailable",
    "BadDigest": "torn",
    "IncompleteBody": "torn",
    "XAmzContentSHA256Mismatch": "torn",
}
_STATUSES = {
    401: "denied",
    403: "denied",
    404: "not_found",
    412: "changed",
    416: "changed",
    501: "invalid",
}
_THROTTLED_STATUSES = {429, 503}
OVERTAKEN_STATUSES = {304, 404, 409, 412}
"""Answers to a conditional write that came too late; 409: another one is under way."""

MAX_MESSAGE = 500
"""Characters of a store's own message that an error repeats."""


def reply_behind(error: BaseException | None) -> boto.ClientError | None:
    """The server's answer that led to `error`, even where s3fs stumbled over it on its way out."""
    while error is not None and not isinstance(error, boto.ClientError):
        error = error.__cause__ or error.__context__
    return error


def is_transient(error: Exception) -> bool:
    """What s3fs should try again besides broken transfers: trouble inside the server."""
    return isinstance(error, boto.ClientError) and (
        (status_of(error) >= 500 and status_of(error) != 501) or status_of(error) in _THROTTLED_STATUSES
    )


def may_be_of_checksums(refusal: boto.ClientError) -> bool:
    """Whether a store may have refused a write for its checksum. They answer 400, 403, 411, 500, 501, ..."""
    return status_of(refusal) not in {*OVERTAKEN_STATUSES, *_THROTTLED_STATUSES}


def status_of(reply: boto.ClientError) -> int:
    """The HTTP status of a refusal; 0 if there is none."""
    return int(reply.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def reason_of_reply(reply: boto.ClientError) -> tuple[str, str]:
    """The reason behind a refusal, and what the store itself says: its code and message."""
    status, said = status_of(reply), reply.response.get("Error", {})
    code = str(said.get("Code") or status)
    message = " ".join(tidy(str(said.get("Message") or "")).split())[:MAX_MESSAGE]
    answer = f"{code}: {message}" if message and message != code else code
    if code in _CODES:
        return _CODES[code], answer
    if status in _THROTTLED_STATUSES:
        return "throttled", answer
    return _STATUSES.get(status, "unavailable" if status >= 500 else "invalid"), answer
