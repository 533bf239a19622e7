"""A Prefect server on SQLite waits where it would fail."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points
from pathlib import Path

import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration

WRITERS = 4


def test_transactions_that_read_and_then_write_wait_for_each_other(tmp_path: Path) -> None:
    """As a server's do: workers' heartbeats, states of runs, late runs."""
    entry_points(group="prefect.collections")["hookline"].load()  # as a server does when it starts

    async def read_then_write(database: AioSqliteConfiguration) -> int:
        async with (
            await database.session(await database.engine()) as session,
            database.begin_transaction(session),
        ):
            seen = (await session.execute(sa.text("SELECT count(*) FROM runs"))).scalar_one()
            await asyncio.sleep(0.05)
            await session.execute(sa.text("INSERT INTO runs VALUES (1)"))
        return int(seen)

    async def all_at_once() -> list[int]:
        database = AioSqliteConfiguration(f"sqlite+aiosqlite:///{tmp_path}/prefect.db")
        async with (await database.engine()).begin() as connection:
            await connection.execute(sa.text("CREATE TABLE runs (id INTEGER)"))
        return await asyncio.gather(*(read_then_write(database) for _ in range(WRITERS)))

    assert sorted(asyncio.run(all_at_once())) == list(range(WRITERS))
