"""Who may ask, and how often."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from fastapi import Header, Request

from hookline.api.contract.problems import Problem
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError

VARIABLE = "HOOKLINE_API_KEYS"
MAX_CALLERS = 10_000
"""Addresses whose rate is kept; beyond, all begin anew."""

_LINE = re.compile(r"([\w.-]{1,64})\s+([0-9a-f]{64})")


class Access:
    """The keys of the service by the names of their owners, as SHA-256; without any, everybody may ask."""

    def __init__(self, hashes: Mapping[str, str], *, per_minute: int = 0) -> None:
        self._hashes, self._per_minute = dict(hashes), per_minute
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    @property
    def asks_for_key(self) -> bool:
        """Whether there are keys."""
        return bool(self._hashes)

    def caller(self, authorization: str | None, *, address: str) -> str:
        """The name of a caller; their address where there are no keys.

        Raises:
            Problem: they have no key of this service, or ask too often.
        """
        name = self._owner(authorization) if self._hashes else address
        if name is None:
            headers = {"WWW-Authenticate": "Bearer"}
            detail = "Send a key of this service: Authorization: Bearer KEY."
            raise Problem(401, "unauthorized", detail, headers=headers)
        if self._per_minute and (wait_s := self._take(name)):
            most = number_of(self._per_minute, "request")
            detail = f"More than {most} a minute, as serve.requests_per_minute allows."
            raise Problem(429, "too_many_requests", detail, retry_after_s=wait_s)
        return name

    def _owner(self, authorization: str | None) -> str | None:
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode()).hexdigest()
        # All are compared, so that the time tells nothing.
        owners = [name for name, each in self._hashes.items() if hmac.compare_digest(each, digest)]
        return owners[0] if owners and scheme.lower() == "bearer" else None

    def _take(self, name: str) -> int:
        """Take one request from what is left this minute; 0, or the seconds until there is one."""
        now, rate = time.monotonic(), self._per_minute / 60
        with self._lock:
            if len(self._left) > MAX_CALLERS:
                self._left.clear()
            left, since = self._left.get(name, (float(self._per_minute), now))
            left = min(self._per_minute, left + (now - since) * rate)
            self._left[name] = (left - 1 if left >= 1 else left, now)
        return 0 if left >= 1 else max(1, round((1 - left) / rate))


def read_keys(file: str) -> dict[str, str]:
    """The names and hashes in a file, or else in the environment: NAME SHA256, a line each.

    Raises:
        SettingsError: it cannot be read, or a line is something else.
    """
    try:
        text = Path(file).read_text() if file else os.environ.get(VARIABLE, "")
    except OSError as error:
        raise SettingsError(f"serve.keys: {file} cannot be read: {error.strerror}") from error
    lines = [line.strip() for line in text.splitlines()]
    found = [_LINE.fullmatch(line) for line in lines if line and not line.startswith("#")]
    if not all(found) or (file and not found):
        where = f"serve.keys: {file}" if file else VARIABLE
        raise SettingsError(
            f"{where} must have lines such as `shop 9f86d0...`: a name, and the SHA-256 of "
            "a key as 64 hex digits (printf %s KEY | sha256sum)."
        )
    return {each[1]: each[2] for each in found if each}


async def identified(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
    """Let in who may ask, and note their name."""
    access: Access = request.app.state.service.access
    address = request.client.host if request.client else ""
    request.state.caller = access.caller(authorization, address=address)
