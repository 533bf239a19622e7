"""The id of a request, in every line that is logged for it and for its job."""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-Id"
_PLAIN = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}")

current_request: ContextVar[str] = ContextVar("current_request", default="-")


def request_id(sent: str | None) -> str:
    """The id that a caller sent; a new one if there is none that can stand in a log.

    >>> request_id("abc-1")
    'abc-1'
    """
    return sent if sent and _PLAIN.fullmatch(sent) else uuid.uuid4().hex


class WithRequestId(logging.Filter):
    """Gives every record the id of the request that it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request = current_request.get()
        return True
