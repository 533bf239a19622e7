"""A Prefect server on SQLite, made to wait where it would fail with "database is locked".

Prefect begins most of its transactions as readers. SQLite refuses a reader that goes on to write when
another connection has written meanwhile, and no timeout helps. Transactions that begin as writers wait
for each other instead: https://www.sqlite.org/lang_transaction.html

`pyproject.toml` names this module under `prefect.collections`, whose modules a server imports when it starts.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

READER, WRITER = "BEGIN DEFERRED", "BEGIN IMMEDIATE"


@event.listens_for(Engine, "before_cursor_execute", retval=True)  # type: ignore[untyped-decorator]
def begin_as_writer(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    """What is executed in place of a statement: itself, but for the beginning of a transaction."""
    return WRITER if statement == READER else statement, parameters
