"""A new database is made at once, as Prefect's migrations would make it; any other is left to them."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from hookline.database import SCHEMA, needs_no_migration, sqlite_file
from tests.prefect_schema import migrated


def url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def lines_of(sql: str) -> list[str]:
    """Prefect's migrations write indexes and foreign keys in the order of a set: another one each time."""
    return sorted(line.strip(", ") for line in sql.splitlines())


def test_the_schema_is_that_of_the_installed_prefect() -> None:
    """If not: `make schema`."""
    assert lines_of(SCHEMA.read_text(encoding="utf-8")) == lines_of(migrated())


def test_two_starts_at_once_make_one_database(tmp_path: Path) -> None:
    path = tmp_path / "home" / "prefect.db"
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(needs_no_migration, [url(path)] * 4)) == [True] * 4
    assert [found.name for found in path.parent.iterdir()] == ["prefect.db"]


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    assert needs_no_migration(url(path))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE mine (number INTEGER)")
    assert needs_no_migration(url(path))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM mine").fetchall() == [(0,)]


@pytest.mark.parametrize(
    "version", ["", "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('0')"]
)
def test_a_database_of_another_version_is_left_to_the_migrations(version: str, tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(version)
    assert not needs_no_migration(url(path))


def test_a_prefect_with_other_migrations_makes_its_database_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.database.heading", lambda: "-- migrations of tomorrow\n")
    assert not needs_no_migration(url(tmp_path / "prefect.db"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "elsewhere",
    [
        "postgresql+asyncpg://prefect@127.0.0.1/prefect",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true",
    ],
)
def test_other_databases_are_no_files(elsewhere: str) -> None:
    assert sqlite_file(elsewhere) is None
