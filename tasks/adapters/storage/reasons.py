"""Errors of storage: their reasons, for each what to do about it, and nothing that tells a secret."""

from __future__ import annotations

import errno

from fsspec.exceptions import FSTimeoutError

from tasks.core.errors import ObjectChanged, StorageError
from tasks.core.secrets import redacted

_FIXES = {
    "not_found": "Check the bucket or folder, and the name.",
    "denied": "Check that the credentials (are they still valid?), or the file permissions, allow this; a "
    "bucket whose readers pay wants AWS_REQUEST_PAYER=requester.",
    "no_credentials": "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    "invalid": "Check the name of the bucket or folder, AWS_REGION and AWS_ENDPOINT_URL.",
    "unavailable": "Check the network and AWS_ENDPOINT_URL, and try again.",
    "throttled": "Try again later, or with fewer workers.",
    "torn": "Try again.",
    "deadline": "Raise limits.deadline_seconds, or find out what holds up the store.",
    "clock_skew": "Set this machine's clock (NTP): the store takes no request that is minutes off.",
    "no_space": "Free some space on that disk and try again.",
}
_FOLDER_FIXES = {
    "not_found": "Check the name.",
    "denied": "Check the file permissions there.",
    "invalid": "Check the name.",
    "unavailable": "Check the disk, and that it can be written, and try again.",
}
_RETRYABLE = {"unavailable", "throttled", "torn", "no_space"}


def storage_error(uri: str, reason: str, detail: str) -> StorageError:
    if reason == "changed":
        return ObjectChanged(f"{uri} was replaced or removed after it was listed. List it again.")
    fixes = _FIXES | _FOLDER_FIXES if uri.startswith("file://") else _FIXES
    return StorageError(
        f"{uri}: {detail.rstrip('.')} ({reason}). {fixes[reason]}",
        reason=reason,
        retryable=reason in _RETRYABLE,
    )


def reason_of_error(error: Exception) -> tuple[str, str]:
    """The reason behind an error of files or fsspec, and a sentence about it."""
    detail = f"{type(error).__name__}: {error}"
    match error:
        case FSTimeoutError():
            return "deadline", "the store is so slow that the time for this video is over"
        case FileNotFoundError() | IsADirectoryError():
            return "not_found", "there is no file or folder of this name"
        case PermissionError():
            return "denied", "access was refused"
        case NotADirectoryError() | FileExistsError():
            return "invalid", "a part of this path is a file, where a folder should be"
        case ValueError():
            return "invalid", detail
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "no_space", "the disk is full"
    return "unavailable", detail


def may_be_shown(error: BaseException | None) -> bool:
    """Whether neither an error nor any behind it tells a secret."""
    while error is not None:
        if redacted(str(error)) != str(error):
            return False
        error = error.__cause__ or error.__context__
    return True
