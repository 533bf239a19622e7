"""A reader of the guides: follows their shell blocks, in a clone of its own."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

from hookline.own_server import is_healthy
from tests.cluster import end
from tests.integration.conftest import free_ports
from tests.waiting import wait_for

SERVES = ("prefect server start", "prefect worker start", "dask scheduler", "dask worker")
START_S = 120


class Reader:
    """Follows the guide in a shell: what serves runs on in a terminal of its own."""

    def __init__(self, clone: Path, folder: Path, terminals: ExitStack) -> None:
        self.clone, self.folder, self.terminals = clone, folder, terminals
        first = free_ports(2)
        self.ports = {"4200": first, "8786": first + 1}
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
            cwd=self.clone,
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
            ["bash", "-c", script], cwd=self.clone, env=self.environment, stdout=log, stderr=log
        )
        self.terminals.callback(end, process)
        if "prefect server start" in script:
            wait_until_it_answers(self.api)
        return process


def wait_until_it_answers(api_url: str) -> None:
    wait_for(lambda: is_healthy(api_url), START_S, or_say=lambda: api_url)
