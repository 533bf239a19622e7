"""`docs/operations.md` is followed to the letter, and what it says of things that die is seen to hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hookline.server import answers
from tests.cluster import end

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
SERVES = ("prefect server start", "prefect worker start", "dask scheduler", "dask worker")
START_S = 120
VENV = f'export PATH="{ROOT}/.venv/bin:$PATH"'
SERVE = f"{VENV}\nset -a; . deployments/server.env; set +a\nexec prefect server start"


class Reader:
    """Follows the guide in a shell: what serves runs on in a terminal of its own."""

    def __init__(self, folder: Path, terminals: ExitStack) -> None:
        self.folder, self.terminals = folder, terminals
        self.ports = {"4200": free_port(), "8786": free_port()}
        self.exports: list[str] = []
        self.printed: list[str] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = inherited | {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_API_PORT": str(self.ports["4200"]),
            "PREFECT_CLI_COLORS": "false",
            "PREFECT_CLI_WRAP_LINES": "false",
        }

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['4200']}/api"

    def follow(self, block: str) -> None:
        for written, free in self.ports.items():
            block = block.replace(f":{written}", f":{free}").replace(f"--port {written}", f"--port {free}")
        script = "\n".join(["set -euo pipefail", *self.exports, block])
        if block.strip().splitlines()[-1].startswith(SERVES):
            self.open_terminal(script)
        else:
            self.printed.append(self.run(script))
        self.exports += [line for line in block.splitlines() if line.startswith("export ")]

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def open_terminal(self, script: str) -> subprocess.Popen[bytes]:
        log = self.terminals.enter_context((self.folder / f"terminal-{len(self.exports)}.log").open("ab"))
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=ROOT, env=self.environment, stdout=log, stderr=log
        )
        self.terminals.callback(end, process)
        if "prefect server start" in script:
            wait_until_it_answers(self.api)
        return process


class Webhook:
    """Whoever is told of failed runs."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.told = told
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_guide_leads_from_nothing_to_a_nightly_run(tmp_path: Path, webhook: Webhook) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 12
    with ExitStack() as terminals:
        reader = Reader(tmp_path, terminals)
        for block in blocks:
            reader.follow(block.replace("https://chat.example/hooks/secret", webhook.url))
        printed = "\n".join(reader.printed)
        assert "Completed" in printed
        assert "rank-videos/nightly" in printed
        assert re.search(r"stage=rank video=\S+ ranked", printed)
        reader.follow(
            "prefect deployment run rank-videos/on-demand --watch --param "
            """settings='{"source": "/nowhere-at-all", "output": "/nowhere-else"}' || true"""
        )
        deadline = time.monotonic() + 60
        while not webhook.told and time.monotonic() < deadline:
            time.sleep(0.5)
    assert "/nowhere-at-all" in webhook.told[0]["text"]


def test_a_run_outlives_its_prefect_server(tmp_path: Path) -> None:
    """The server is killed under a run, and is back some seconds later."""
    with ExitStack() as terminals:
        reader = Reader(tmp_path, terminals)
        server = reader.open_terminal(SERVE)

        def restart() -> None:
            end(server)
            time.sleep(3)
            reader.open_terminal(SERVE)

        check_complete(rank_through(reader, restart))


def test_a_run_outlives_the_database_of_its_prefect_server(tmp_path: Path, postgres: Postgres) -> None:
    """PostgreSQL is stopped under a run without a word to its clients, and is back some seconds later."""
    with ExitStack() as terminals:
        reader = Reader(tmp_path, terminals)
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
    assert run.wait(300) == 0, [log.read_text() for log in reader.folder.glob("*.log")]
    return output


def check_complete(output: Path) -> None:
    pointer = json.loads((output / "latest.json").read_text())
    manifest = json.loads((output / pointer["manifest"]).read_text())
    assert manifest["state"] == "Completed"
    assert manifest["counts"]["ranked"] == manifest["counts"]["listed"] > 1


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


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    in_debian = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))]
    found = shutil.which("pg_ctl") or next(iter(in_debian), None)
    if not found:
        pytest.skip("pg_ctl is not installed (Debian, Ubuntu: apt install postgresql)")
    with TemporaryDirectory(prefix="hookline-postgres-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
        made = Postgres(Path(found).resolve().parent, Path(folder), free_port())
        made.run(
            "initdb", "--pgdata", f"{folder}/data", "--username", "prefect", "--auth", "trust", "--no-sync"
        )
        settings = (
            f"port = {made.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
        )
        with (made.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(settings)
        made.control("start", "--log", f"{folder}/log")
        yield made
        made.control("stop", "--mode", "immediate")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(api_url: str) -> None:
    deadline = time.monotonic() + START_S
    while not answers(api_url):
        assert time.monotonic() < deadline, api_url
        time.sleep(0.2)
