"""The cache of analyses: JSON records of our own, under OUTPUT or in Redis. Nothing is ever unpickled."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from tasks.adapters.storage import Store, open_store
from tasks.core.errors import StorageError
from tasks.core.records import Analysis
from tasks.core.scoring.analyses import analysis_json, read_analysis
from tasks.core.settings.deep import check_cache

if TYPE_CHECKING:
    from redis import Redis

READ_THREADS = 8

PAUSE_S = 60.0
PAUSES = 3
"""A cache that cannot be reached is not used for `PAUSE_S`, and after `PAUSES` pauses not at all."""

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
_UNREACHABLE = {"unavailable", "throttled", "torn"}

log = logging.getLogger(__name__)


Use = Literal["read", "write"]


class KeyValueStore(Protocol):
    """Small values by key. Both methods raise StorageError."""

    def get(self, key: str) -> bytes | None:
        """The value; None if there is no such key."""

    def put(self, key: str, content: bytes) -> None:
        """Keep the whole of `content` in place of what was there. The last of two writers wins."""


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
    return AnalysisCache(StoreValues(open_store(output)) if setting == "output" else RedisValues(setting))


class AnalysisCache:
    """Analyses by key. A fault of the cache costs time, never a run.

    A record that cannot be read is a miss. A store that cannot be reached is paused, and closed for good
    when that happens after `PAUSES` pauses. One that refuses to be read is closed at once; one that only
    refuses to be written (full, read-only) stays open for reading. Each change is one warning.
    Threads may share a cache.
    """

    def __init__(self, values: KeyValueStore) -> None:
        self._values = values
        self._open: set[Use] = {"read", "write"}
        self._pauses_left, self._paused_until_s = PAUSES, -math.inf
        self._switching = threading.Lock()

    def get_many(self, keys: Sequence[str]) -> dict[str, Analysis]:
        """The analyses there are, by key."""
        wanted = list(dict.fromkeys(keys))
        with ThreadPoolExecutor(READ_THREADS, "analysis-cache") as pool:
            found = dict(zip(wanted, pool.map(self._read, wanted), strict=True))
        return {key: analysis for key, analysis in found.items() if analysis is not None}

    def put(self, key: str, analysis: Analysis) -> None:
        """Keep an analysis; one without an answer is worth another try and is not kept."""
        if "write" not in self._open or self._is_paused or analysis.answer is None:
            return
        try:
            self._values.put(key, analysis_json(analysis))
        except StorageError as error:
            self._close(error, {"read", "write"} if error.reason in _UNREACHABLE else {"write"})
        except ValueError as error:
            log.warning("analysis %s is not kept: %s", key, error)

    def _read(self, key: str) -> Analysis | None:
        if "read" not in self._open or self._is_paused:
            return None
        try:
            content = self._values.get(key)
            return None if content is None else read_analysis(content)
        except StorageError as error:
            self._close(error, {"read", "write"})
        except ValueError as error:
            log.warning("analysis %s is made anew, because its record does not read: %s", key, error)
        return None

    @property
    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until_s

    def _close(self, error: StorageError, uses: set[Use]) -> None:
        with self._switching:
            if self._is_paused or not uses & self._open:
                return  # another thread was here first
            if error.reason in _UNREACHABLE and self._pauses_left:
                self._pauses_left -= 1
                self._paused_until_s = time.monotonic() + PAUSE_S
                log.warning("The analysis cache is not used for %g s. %s", PAUSE_S, error)
                return
            self._open -= uses
            closed = "not written to" if self._open else "not used"
        log.warning("The analysis cache is %s from here on. %s", closed, error)


class StoreValues:
    """KeyValueStore of a store: `analyses/<the key's first two digits>/<key>.json`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> bytes | None:
        try:
            return self._store.read_bytes(self._name(key))
        except StorageError as error:
            if error.reason == "not_found":
                return None
            raise

    def put(self, key: str, content: bytes) -> None:
        self._store.write_bytes(self._name(key), content)

    def _name(self, key: str) -> str:
        return f"analyses/{key[:2]}/{key}.json"


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
