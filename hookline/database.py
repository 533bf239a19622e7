"""The database of an embedded server, made from Prefect's finished schema: its migrations take seconds.

`make schema` writes that schema anew after those of the installed Prefect. With a Prefect that has other
migrations, or in a database of another version, they run as ever.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

SCHEMA = Path(__file__).with_name("prefect.sql")
VERSION = re.compile(r"""^INSERT INTO "alembic_version" VALUES\('(\w+)'\)""", re.MULTILINE)


def needs_no_migration(url: str) -> bool:
    """Whether the database at this URL is as the installed Prefect wants it. A new file of SQLite is made so.

    Two may start at once, and each may be killed at any time: the file is there as a whole, or not at all.
    """
    path, schema = sqlite_file(url), SCHEMA.read_text(encoding="utf-8")
    if path is None or not schema.startswith(heading()):
        return False
    if not path.exists():
        _make(path, schema)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return [version for (version,) in found] == VERSION.findall(schema)


def sqlite_file(url: str) -> Path | None:
    """The file that a URL of SQLAlchemy names; None where it is none, or another database."""
    found = re.fullmatch(r"sqlite\+aiosqlite:///(/[^?]+)", url)
    return Path(found[1]) if found else None


def heading() -> str:
    """The first line of a schema: which migrations it is the outcome of."""
    prefect = find_spec("prefect")
    assert prefect
    assert prefect.origin
    folder = Path(prefect.origin).parent / "server/database/_migrations/versions/sqlite"
    names = "\n".join(sorted(path.name for path in folder.glob("*.py")))
    return f"-- migrations {hashlib.sha256(names.encode()).hexdigest()}\n"


def _make(path: Path, schema: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.new-") as new:
        with closing(sqlite3.connect(new.name)) as database:
            database.executescript(schema)
        with suppress(OSError):  # another start was first, or the file system knows no links
            os.link(new.name, path)
