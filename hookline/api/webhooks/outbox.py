"""What is still to be told, in a file that survives the service."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

KEPT_S = 24 * 3600
"""For so long after its end a message is known, so that a repeated request does not send it again."""

_TABLE = """
create table if not exists messages (
    id text primary key, job text not null, url text not null, host text not null, body blob,
    tries integer not null default 0, due_at real, ended_at real
)
"""
"""Without a `body` the job is not final yet, and nothing is due; with `ended_at` nothing is left to do."""


class Message(NamedTuple):
    """What one receiver is to be told of one job, and how often that was tried."""

    id: str
    job: str
    url: str
    host: str
    body: bytes
    tries: int


class Outbox:
    """The messages of all jobs. May be used from any thread."""

    def __init__(self, file: Path, *, kept_s: float = KEPT_S) -> None:
        self._kept_s, self._lock = kept_s, threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(_TABLE)

    def add(self, message_id: str, *, job: str, url: str, host: str) -> bool:
        """Keep a message about a job that is not final yet, unless it is there already."""
        self._do("delete from messages where ended_at < ?", time.time() - self._kept_s)
        added = "insert or ignore into messages (id, job, url, host) values (?, ?, ?, ?) returning id"
        return bool(self._do(added, message_id, job, url, host))

    def fill(self, message_id: str, body: bytes) -> None:
        """The job is final, and this is what is told of it, from now on."""
        filled = "update messages set body = ?, due_at = ? where id = ? and body is null"
        self._do(filled, body, time.time(), message_id)

    def unfilled(self) -> Sequence[tuple[str, str]]:
        """Each message whose job is not final yet, and that job."""
        return self._do("select id, job from messages where body is null and ended_at is null")

    def due(self, *, but_for: Collection[str]) -> Sequence[Message]:
        """The next message of every host, but for these, whose time has come."""
        return [
            Message(*row)
            for row in self._do(
                "select id, job, url, host, body, tries from ("
                " select *, row_number() over (partition by host order by due_at) as place from messages"
                " where due_at <= ? and ended_at is null"
                f") where place = 1 and host not in ({', '.join('?' * len(but_for))})",
                time.time(),
                *but_for,
            )
        ]

    def next_due_at(self, *, but_for: Collection[str]) -> float | None:
        """When a message of another host than these is due; None if none waits."""
        marks = ", ".join("?" * len(but_for))
        query = f"select min(due_at) from messages where ended_at is null and host not in ({marks})"
        ((at,),) = self._do(query, *but_for)
        return None if at is None else float(at)

    def tried(self, message: Message, *, next_at: float) -> None:
        """Count a try before it is made: one in the middle of which the service is killed is one, too."""
        self._do("update messages set tries = tries + 1, due_at = ? where id = ?", next_at, message.id)

    def end(self, message_id: str) -> None:
        """Nothing more is told."""
        self._do("update messages set ended_at = ? where id = ?", time.time(), message_id)

    def waiting(self) -> int:
        """How many messages are not told yet, those of unfinished jobs among them."""
        ((count,),) = self._do("select count(*) from messages where ended_at is null")
        return int(count)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _do(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()
