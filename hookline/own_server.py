"""The Prefect server of an embedded run, seen from the run: started, waited for, kept up, ended."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.core.errors import HooklineError

if TYPE_CHECKING:
    import httpx

STARTUP_S = 120
"""Where migrations have to run, the first start takes 6-30 s, and more where the machine is busy."""

CONNECTIONS_S = 10
"""So long whoever still talks to a server that ends may go on."""

PATIENCE_S = 30
"""A server that records nothing for so long ends with what it has."""

HISTORY = "/hookline/history"
"""Where a server tells the id of its process (GET), and records all that it was told (POST)."""

STOP_S = 600
"""In that time it has recorded what the fastest night can leave in its queues."""

IN_ORDER = (0, -signal.SIGTERM)
"""Exit codes of a server that has recorded all: uvicorn ends by the signal that it was told to end with."""

LOST = "some of the history that it was told of is lost."

STEADY_S = 60
"""A server that ends so soon after its start would do so again."""

log = logging.getLogger("hookline.own_server")


class EmbeddedServer:
    """A Prefect API on a free port of 127.0.0.1, without UI."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self.process: subprocess.Popen[bytes] | None = None
        self.options: tuple[str, ...] = ("0", "")

    def launch(self) -> None:
        """Start the server; the caller has other things to do until it answers."""
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hookline.server", str(self.port), str(os.getpid())]
        return subprocess.Popen([*command, *self.options], stdin=subprocess.DEVNULL, start_new_session=True)

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            HooklineError: it ended, or did not answer within `STARTUP_S`.
        """
        import httpx  # not for commands without a server

        deadline = time.monotonic() + STARTUP_S
        # One client, without what HTTPS needs: making that each time takes the CPU from the server.
        with httpx.Client(verify=False, trust_env=False) as client:
            while self.process and self.process.poll() is None and time.monotonic() < deadline:
                if _is_healthy(self.api_url, client):
                    return
                time.sleep(0.05)
        self.stop(within_s=CONNECTIONS_S)
        ended, self.process = self.process, None
        raise HooklineError(
            f"The embedded Prefect server did not start within {STARTUP_S} s (exit code "
            f"{ended and ended.returncode}): see what it printed, or set PREFECT_API_URL to "
            "a server that runs."
        )

    def stop(self, *, within_s: float = STOP_S) -> str:
        """End the server, if it was started, once it has recorded what it was told.

        Returns why it may not have recorded all of it: nothing if it has.
        """
        if not self.process:
            return ""
        self.process.terminate()
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"The Prefect server was still recording after {within_s:g} s, and was killed: {LOST}"
        return "" if code in IN_ORDER else f"The Prefect server ended with exit code {code}: {LOST}"


class KeptServer(EmbeddedServer):
    """One that is started again, on its port and its database, when it ends by itself.

    `is_up` is false meanwhile, and `is_lost` true when it cannot be kept up; it has ended `outages` times.
    """

    def __init__(self) -> None:
        super().__init__()
        self.options = ()
        self.is_up, self.is_lost, self.outages = False, False, 0
        self._is_over, self._launching = False, threading.Lock()

    def keep(self, *, on_lost: Callable[[], None]) -> None:
        """From now on, start it again when it ends; `on_lost` is called when that is no use."""
        self.is_up = True
        threading.Thread(target=self._keep, args=(on_lost,), name="prefect-server", daemon=True).start()

    def launch(self) -> None:
        with self._launching:
            if not self._is_over:
                super().launch()

    def stop(self, *, within_s: float = STOP_S) -> str:
        with self._launching:
            self._is_over = True
        return super().stop(within_s=within_s)

    def _keep(self, on_lost: Callable[[], None]) -> None:
        again_at = -math.inf
        while self.process:
            code = self.process.wait()
            self.is_up = False
            if self._is_over:
                return
            self.outages += 1
            log.error("the Prefect server of this service ended by itself, with exit code %s", code)
            try:
                if time.monotonic() - again_at < STEADY_S:
                    raise HooklineError(f"it ended within {STEADY_S} s of being started again")
                self.launch()
                self.wait()
            except HooklineError as error:
                log.error("the Prefect server of this service cannot be kept up: %s", error)
                self.is_lost = True
                on_lost()
                return
            self.is_up, again_at = True, time.monotonic()
            log.warning("the Prefect server of this service was started again: jobs go on")


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server is there."""
    import httpx

    with httpx.Client() as client:
        return _is_healthy(api_url, client)


def _is_healthy(api_url: str, client: httpx.Client) -> bool:
    import httpx

    try:
        return client.get(f"{api_url}/health", timeout=5).status_code == httpx.codes.OK
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
