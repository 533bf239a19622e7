"""The Prefect server of an embedded run, in a process of its own: `python -m hookline.server PORT PARENT`.

It runs in a session of its own, so that Ctrl-C does not take it away from the run that still has to
report to it; and it ends when its parent is gone, so that a killed run leaves no server behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import httpx

from tasks.adapters.workers.parent import end_with_parent
from tasks.core.errors import HooklineError

STARTUP_S = 120
"""The first start makes the database: 6-30 s, and more where the machine is busy."""

STOP_S = 10


class EmbeddedServer:
    """A Prefect API on a free port of 127.0.0.1, without UI."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the server; the caller has other things to do until it answers."""
        command = [sys.executable, "-m", "hookline.server", str(self.port), str(os.getpid())]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            HooklineError: it ended, or did not answer within `STARTUP_S`.
        """
        deadline = time.monotonic() + STARTUP_S
        while self.process and self.process.poll() is None and time.monotonic() < deadline:
            if is_healthy(self.api_url):
                return
            time.sleep(0.1)
        self.stop()
        raise HooklineError(
            f"The embedded Prefect server did not start within {STARTUP_S} s (exit code "
            f"{self.process and self.process.returncode}): see what it printed, or set PREFECT_API_URL to "
            "a server that runs."
        )

    def stop(self) -> None:
        """End the server, if it was started; it has `STOP_S` to write down what it was told."""
        if not self.process:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server is there."""
    try:
        return httpx.get(f"{api_url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def check_healthy(api_url: str) -> None:
    """Check that the configured Prefect server is there.

    Raises:
        HooklineError: it is not.
    """
    if not is_healthy(api_url):
        raise HooklineError(
            f"PREFECT_API_URL is {api_url}, but no Prefect server answers there: start it, or unset the "
            "variable to do without one."
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until told to stop."""
    import uvicorn
    from prefect.server.api.server import create_app

    port, parent = map(int, sys.argv[1:])
    end_with_parent(parent, partial(os.kill, os.getpid(), signal.SIGTERM))
    uvicorn.run(create_app(ephemeral=True, final=True), host="127.0.0.1", port=port, log_level="critical")


if __name__ == "__main__":
    main()
