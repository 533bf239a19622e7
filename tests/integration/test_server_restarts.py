"""A run outlives its Prefect server and the database behind it."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import end
from tests.integration.conftest import free_ports
from tests.integration.postgres import running_postgres
from tests.integration.prefect_ui import prefect_server, running
from tests.media import numbered_video
from tests.s3 import Server, aws_environment, holding_back
from tests.waiting import patience, wait_for

pytest_plugins = ["tests.s3"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

AWAY_S = 3


def test_a_run_outlives_its_prefect_server_and_the_database_behind_it(
    tmp_path: Path, moto_server: Server, demo_models: Path
) -> None:
    """The server is killed under a run; then PostgreSQL is stopped without a word to its clients.

    Each is back some seconds later. One video is held back until then, while the run ranks another.
    """
    bucket = moto_server.new_bucket()
    for name in ("first.mp4", "second.mp4"):
        bucket.put(f"in/{name}", numbered_video(tmp_path / name, seconds=20).read_bytes())
    output, log, port = tmp_path / "output", tmp_path / "run.log", free_ports(1)
    models = ["--fast.model", str(demo_models / "videomae"), "--deep.model", str(demo_models / "videollama3")]
    models += ["--speech.model", str(demo_models / "whisper")]
    command = [sys.executable, "-m", "hookline", "rank", f"{bucket.uri}/in", str(output), *models]
    with (
        running_postgres() as postgres,
        holding_back(moto_server, "/in/second.mp4") as store,
        ExitStack() as servers,
    ):
        reached = aws_environment(replace(moto_server, endpoint=store.endpoint))
        reached["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgres.url
        server = servers.enter_context(prefect_server(tmp_path, port, **reached))
        with running([*command, "--windows.window_seconds=5"], server.environment, log) as run:
            wait_for(lambda: any(output.glob("analyses/*/*.json")), or_say=log.read_text)
            end(server.process)
            time.sleep(AWAY_S)
            servers.enter_context(prefect_server(tmp_path, port, **reached))
            assert run.poll() is None, log.read_text()
            postgres.control("stop", "--mode", "immediate")
            store.closing.set()
            time.sleep(AWAY_S)
            postgres.control("start", "--log", str(postgres.folder / "log"))
            assert run.wait(patience(300)) == 0, log.read_text()
    pointer = json.loads((output / "latest.json").read_text())
    manifest = json.loads((output / pointer["manifest"]).read_text())
    assert manifest["state"] == "Completed"
    assert manifest["counts"]["ranked"] == manifest["counts"]["listed"] == 2
