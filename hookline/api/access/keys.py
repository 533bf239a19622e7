"""Idempotency keys: which job a caller's request made, kept for a day."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from hookline.api.contract.problems import Problem

KEPT_S = 24 * 3600

_TABLE = """
create table if not exists keys (
    key text primary key, body text not null, run_key text not null, job text, made_at real not null
)
"""


class Keys(Protocol):
    """The keys of all callers. They outlive the service."""

    def claim(self, key: str, *, caller: str, body: bytes) -> tuple[str, str | None]:
        """The key under which the run of a request is made, and the job that it has already, if it has.

        The first comes before the job: if the service dies between the two, the repeated request finds it
        and makes no second run.

        Raises:
            Problem: the key was used for another request.
        """

    def keep(self, run_key: str, job: str) -> None:
        """Remember the job of a claimed key."""

    def close(self) -> None:
        """Nobody will ask any more."""


def digests(key: str, *, caller: str, body: bytes) -> tuple[str, str]:
    """What tells apart the keys of all callers, and what the requests with one of them."""
    name = hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()
    return name, hashlib.sha256(body).hexdigest()


class KeyReused(Problem):
    """The key was used for another request."""

    def __init__(self) -> None:
        super().__init__(422, "key_reused", "This Idempotency-Key was used with another request.")


class OwnKeys:
    """The keys of the callers of one service, in a file."""

    def __init__(self, file: Path, *, kept_s: float = KEPT_S) -> None:
        self._kept_s, self._lock = kept_s, threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(_TABLE)

    def claim(self, key: str, *, caller: str, body: bytes) -> tuple[str, str | None]:
        name, digest = digests(key, caller=caller, body=body)
        with self._lock:
            self._db.execute("delete from keys where made_at < ?", (time.time() - self._kept_s,))
            row = (name, digest, uuid4().hex, time.time())
            self._db.execute(
                "insert or ignore into keys (key, body, run_key, made_at) values (?, ?, ?, ?)", row
            )
            query = "select body, run_key, job from keys where key = ?"
            known, run_key, job = self._db.execute(query, (name,)).fetchone()
        if known != digest:
            raise KeyReused
        return str(run_key), job

    def keep(self, run_key: str, job: str) -> None:
        with self._lock:
            self._db.execute("update keys set job = ? where run_key = ?", (job, run_key))

    def close(self) -> None:
        self._db.close()
