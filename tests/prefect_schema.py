"""The schema that Prefect's migrations make: `make schema` writes it to hookline/prefect.sql."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hookline.database import heading

MIGRATE = """
import asyncio
from prefect.server.database import provide_database_interface

asyncio.run(provide_database_interface().create_db())
"""


def migrated() -> str:
    """A new database of the installed Prefect, as SQL."""
    with TemporaryDirectory() as home:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        subprocess.run([sys.executable, "-c", MIGRATE], env={**environment, "PREFECT_HOME": home}, check=True)
        with closing(sqlite3.connect(Path(home) / "prefect.db")) as database:
            return heading() + "\n".join(database.iterdump()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(migrated())
