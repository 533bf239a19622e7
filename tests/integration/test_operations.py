"""`docs/operations.md` is followed to the letter, and what it says of things that die is seen to hold."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hookline.server import answers
from tests.cluster import end

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
SERVES = ("prefect server start", "prefect worker start", "dask scheduler", "dask worker")
START_S = 120


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
            wait_until_it_answers(f"http://127.0.0.1:{self.ports['4200']}/api")
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
        serve = "set -a; . deployments/server.env; set +a\nexec prefect server start"
        server = reader.open_terminal(f'export PATH="{ROOT}/.venv/bin:$PATH"\n{serve}')
        api = f"http://127.0.0.1:{reader.ports['4200']}/api"
        reader.run(f'export PATH="{ROOT}/.venv/bin:$PATH"\n[ -d demo/models ] || hookline demo')
        output = tmp_path / "output"
        command = (
            f'export PATH="{ROOT}/.venv/bin:$PATH" PREFECT_API_URL={api}\nexec hookline rank demo/videos '
            f"{output} --fast.model demo/models/videomae --deep.model demo/models/videollama3 "
            "--windows.window_seconds 15"
        )
        run = reader.open_terminal(command)
        while not any(output.glob("analyses/*/*.json")):
            assert run.poll() is None, [log.read_text() for log in tmp_path.glob("*.log")]
            time.sleep(0.05)
        end(server)
        time.sleep(3)
        reader.open_terminal(f'export PATH="{ROOT}/.venv/bin:$PATH"\n{serve}')
        assert run.wait(300) == 0, [log.read_text() for log in tmp_path.glob("*.log")]
    pointer = json.loads((output / "latest.json").read_text())
    manifest = json.loads((output / pointer["manifest"]).read_text())
    assert manifest["state"] == "Completed"
    assert manifest["counts"]["ranked"] == manifest["counts"]["listed"] > 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(api_url: str) -> None:
    deadline = time.monotonic() + START_S
    while not answers(api_url):
        assert time.monotonic() < deadline, api_url
        time.sleep(0.2)
