"""A PostgreSQL server of its own for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.conftest import free_ports


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server of its own, on a free port of 127.0.0.1."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/postgres"

    def control(self, *arguments: str) -> None:
        self.run("pg_ctl", "--pgdata", str(self.folder / "data"), "--wait", *arguments)

    def run(self, program: str, *arguments: str) -> None:
        # It does not run as root.
        as_nobody = ["runuser", "--user", "nobody", "--"] if os.getuid() == 0 else []
        with (self.folder / "commands.log").open("a") as log:
            subprocess.run(
                [*as_nobody, self.programs / program, *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                check=True,
            )


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server for the length of the block; the test is skipped where it is not installed."""
    in_debian = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))]
    found = shutil.which("pg_ctl") or next(iter(in_debian), None)
    if not found:
        pytest.skip("pg_ctl is not installed (Debian, Ubuntu: apt install postgresql)")
    with TemporaryDirectory(prefix="hookline-postgres-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
        made = Postgres(Path(found).resolve().parent, Path(folder), free_ports(1))
        made.run(
            "initdb", "--pgdata", f"{folder}/data", "--username", "prefect", "--auth", "trust", "--no-sync"
        )
        settings = (
            f"port = {made.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
        )
        with (made.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(settings)
        made.control("start", "--log", f"{folder}/log")
        try:
            yield made
        finally:
            made.control("stop", "--mode", "immediate")
