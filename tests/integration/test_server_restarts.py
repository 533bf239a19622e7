"""A run outlives its Prefect server and the database behind it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster import end
from tests.integration.conftest import ROOT
from tests.integration.postgres import running_postgres
from tests.integration.reader import Reader
from tests.prefect_home import new_home
from tests.waiting import patience

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

VENV = f'export PATH="{ROOT}/.venv/bin:$PATH"'
SERVE = f"{VENV}\nset -a; . deployments/server.env; set +a\nexec prefect server start"


def test_a_run_outlives_its_prefect_server(clone: Path, tmp_path: Path) -> None:
    """The server is killed under a run, and is back some seconds later."""
    with ExitStack() as terminals:
        reader = Reader(clone, tmp_path, terminals)
        new_home(tmp_path / "prefect")
        server = reader.open_terminal(SERVE)

        def restart() -> None:
            end(server)
            time.sleep(3)
            reader.open_terminal(SERVE)

        check_complete(rank_through(reader, restart))


def test_a_run_outlives_the_database_of_its_prefect_server(clone: Path, tmp_path: Path) -> None:
    """PostgreSQL is stopped under a run without a word to its clients, and is back some seconds later."""
    with running_postgres() as postgres, ExitStack() as terminals:
        reader = Reader(clone, tmp_path, terminals)
        reader.environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgres.url
        reader.open_terminal(SERVE)

        def restart() -> None:
            postgres.control("stop", "--mode", "immediate")
            time.sleep(3)
            postgres.control("start", "--log", str(postgres.folder / "log"))

        check_complete(rank_through(reader, restart))


def rank_through(reader: Reader, disturb: Callable[[], None]) -> Path:
    """Rank the demo videos on the reader's server, and disturb it once the first analysis is there."""
    reader.run(f"{VENV}\n[ -d demo/models ] || hookline demo")
    output = reader.folder / "output"
    run = reader.open_terminal(
        f"{VENV} PREFECT_API_URL={reader.api}\nexec hookline rank demo/videos {output} "
        "--windows.window_seconds 15 --fast.model demo/models/videomae --deep.model demo/models/videollama3"
    )
    while not any(output.glob("analyses/*/*.json")):
        assert run.poll() is None, [log.read_text() for log in reader.folder.glob("*.log")]
        time.sleep(0.05)
    disturb()
    assert run.wait(patience(300)) == 0, [log.read_text() for log in reader.folder.glob("*.log")]
    return output


def check_complete(output: Path) -> None:
    pointer = json.loads((output / "latest.json").read_text())
    manifest = json.loads((output / pointer["manifest"]).read_text())
    assert manifest["state"] == "Completed"
    assert manifest["counts"]["ranked"] == manifest["counts"]["listed"] > 1
