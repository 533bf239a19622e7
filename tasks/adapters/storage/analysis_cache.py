"""The cache of analyses: JSON records of our own, under OUTPUT or in Redis. Nothing is ever unpickled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.adapters.storage import open_store
from tasks.adapters.storage.record_cache import KeyValueStore, RecordCache, StoreValues
from tasks.core.errors import StorageError
from tasks.core.records import Analysis
from tasks.core.scoring.analyses import analysis_json, read_analysis
from tasks.core.settings.deep import check_cache

if TYPE_CHECKING:
    from redis import Redis

REDIS_PREFIX = "hookline:analysis:"
REDIS_CONNECT_TIMEOUT_S = 3.0
REDIS_READ_TIMEOUT_S = 10.0
REDIS_MAX_ATTEMPTS = 3
"""Tries to connect: a server that takes connections and never answers holds a call for 3 read timeouts."""

_REDIS_FIXES = {
    "denied": "Set HOOKLINE_REDIS_PASSWORD (and HOOKLINE_REDIS_USERNAME) to a user who may read and write "
    f"{REDIS_PREFIX}* there.",
    "no_space": "Give it more memory, or let it forget old records (maxmemory-policy allkeys-lru).",
    "unavailable": "Check that it runs and can be reached from here (rediss:// where it wants TLS), or set "
    "deep.cache to output.",
    "invalid": "Check the scheme, host, port and database number in deep.cache.",
}


def open_analysis_cache(setting: str, output: str) -> AnalysisCache | None:
    """The cache that `deep.cache` names: `output` (files under `output`), a Redis URL, or None for `off`.

    Opening touches neither network nor disk. The credentials for Redis are HOOKLINE_REDIS_PASSWORD and
    HOOKLINE_REDIS_USERNAME, read when the client is made: settings are published in the manifest, so no
    secret may be among them.

    Raises SettingsError for any other setting.
    """
    check_cache(setting)
    if setting == "off":
        return None
    return AnalysisCache(
        StoreValues(open_store(output), "analyses") if setting == "output" else RedisValues(setting)
    )


class AnalysisCache(RecordCache[Analysis]):
    """Analyses by key; one without an answer is worth another try and is not kept."""

    def __init__(self, values: KeyValueStore) -> None:
        super().__init__(values, "analysis", read=read_analysis, written=analysis_json)

    def put(self, key: str, record: Analysis) -> None:
        if record.answer is not None:
            super().put(key, record)


class RedisValues:
    """A `KeyValueStore` in Redis: `hookline:analysis:<key>`. Keys never expire, but Redis may evict them."""

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        self._server = f"{parts.hostname}:{parts.port or 6379}"

    def get(self, key: str) -> bytes | None:
        with self._reporting():
            found = redis_client(self._url).get(REDIS_PREFIX + key)
        return found if isinstance(found, bytes) else None

    def put(self, key: str, content: bytes) -> None:
        with self._reporting():
            redis_client(self._url).set(REDIS_PREFIX + key, content)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        from redis import RedisError

        try:
            yield
        except (RedisError, OSError, UnicodeError) as error:
            reason = _redis_reason(error)
            detail = f"{type(error).__name__}: {error}"
            if password := _password():
                detail = detail.replace(password, "***")
            # From None, because a server may repeat the password in its refusal.
            raise StorageError(
                f"Redis at {self._server}: {detail.rstrip('.')} ({reason}). {_REDIS_FIXES[reason]}",
                reason=reason,
                retryable=reason in ("unavailable", "no_space"),
            ) from None


@lru_cache
def redis_client(url: str) -> Redis:
    """This process's client for a Redis; threads and forked children may use it.

    After `cache_clear()` the next use makes another, and reads the environment again.
    """
    from redis import Redis
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        username=os.environ.get("HOOKLINE_REDIS_USERNAME") or None,
        password=_password(),
        socket_connect_timeout=REDIS_CONNECT_TIMEOUT_S,
        socket_timeout=REDIS_READ_TIMEOUT_S,
        retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=1), retries=REDIS_MAX_ATTEMPTS - 1),
    )


def _password() -> str | None:
    """What HOOKLINE_REDIS_PASSWORD holds, less the newline at the end of a secret's file."""
    return os.environ.get("HOOKLINE_REDIS_PASSWORD", "").rstrip("\r\n") or None


def _redis_reason(error: Exception) -> str:
    from redis import exceptions as redis

    match error:
        case redis.AuthenticationError() | redis.NoPermissionError() | redis.ReadOnlyError():
            return "denied"
        case redis.OutOfMemoryError():
            return "no_space"
        case redis.ConnectionError() | redis.TimeoutError() | OSError():
            return "unavailable"
    return "invalid"
