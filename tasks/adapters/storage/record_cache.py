"""Records by key that save work: a fault of where they are kept costs time, never a run."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Literal, Protocol, TypeVar

from tasks.adapters.storage.store import Store
from tasks.core.errors import StorageError

READ_THREADS = 8

PAUSE_S = 60.0
PAUSES = 3
"""A cache that cannot be reached is not used for `PAUSE_S`, and after `PAUSES` pauses not at all."""

_UNREACHABLE = {"unavailable", "throttled", "torn"}

log = logging.getLogger(__name__)

T = TypeVar("T")
Use = Literal["read", "write"]


class KeyValueStore(Protocol):
    """Small values by key. Both methods raise StorageError."""

    def get(self, key: str) -> bytes | None:
        """The value; None if there is no such key."""

    def put(self, key: str, content: bytes) -> None:
        """Keep the whole of `content` in place of what was there. The last of two writers wins."""


class RecordCache(Generic[T]):
    """Records by key, each of them `what`, as `read` takes them from bytes and `written` makes bytes of them.

    A record that cannot be read, for which `read` raises ValueError, is a miss. A store that cannot be
    reached is paused, and closed for good when that happens after `PAUSES` pauses. One that refuses to be
    read is closed at once; one that only refuses to be written (full, read-only) stays open for reading. Each
    change is one warning. Threads may share a cache.
    """

    def __init__(
        self, values: KeyValueStore, what: str, *, read: Callable[[bytes], T], written: Callable[[T], bytes]
    ) -> None:
        self._values, self._what = values, what
        self._read_record, self._written = read, written
        self._open: set[Use] = {"read", "write"}
        self._pauses_left, self._paused_until_s = PAUSES, -math.inf
        self._switching = threading.Lock()

    def get_many(self, keys: Sequence[str]) -> dict[str, T]:
        """The records there are, by key."""
        return self._many(keys, self.get)

    def read_many(self, keys: Sequence[str]) -> dict[str, T]:
        """The same for whom a record that is only out of reach is not one that is missing.

        Raises:
            StorageError: they cannot be looked for.
        """
        return self._many(keys, self._read)

    def _many(self, keys: Sequence[str], get: Callable[[str], T | None]) -> dict[str, T]:
        wanted = list(dict.fromkeys(keys))
        with ThreadPoolExecutor(READ_THREADS, "read-records") as pool:
            found = dict(zip(wanted, pool.map(get, wanted), strict=True))
        return {key: record for key, record in found.items() if record is not None}

    def get(self, key: str) -> T | None:
        """The record of a key, if there is one."""
        if "read" not in self._open or self._is_paused:
            return None
        try:
            return self._read(key)
        except StorageError as error:
            self._close(error, {"read", "write"})
        return None

    def _read(self, key: str) -> T | None:
        content = self._values.get(key)
        try:
            return None if content is None else self._read_record(content)
        except ValueError as error:
            log.warning("%s %s is made anew, because its record does not read: %s", self._what, key, error)
        return None

    def put(self, key: str, record: T) -> None:
        """Keep a record."""
        if "write" not in self._open or self._is_paused:
            return
        try:
            self._values.put(key, self._written(record))
        except StorageError as error:
            self._close(error, {"read", "write"} if error.reason in _UNREACHABLE else {"write"})
        except ValueError as error:
            log.warning("%s %s is not kept: %s", self._what, key, error)

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
                log.warning("The %s cache is not used for %g s. %s", self._what, PAUSE_S, error)
                return
            self._open -= uses
            closed = "not written to" if self._open else "not used"
        log.warning("The %s cache is %s from here on. %s", self._what, closed, error)


class StoreValues:
    """KeyValueStore of a store: `<folder>/<the key's first two digits>/<key>.json`."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder

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
        return f"{self._folder}/{key[:2]}/{key}.json"
