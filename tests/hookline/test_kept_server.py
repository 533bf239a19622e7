"""A Prefect server that is started again when it ends by itself."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from hookline.own_server import EmbeddedServer, KeptServer
from tests.waiting import wait_for


class Ending(KeptServer):
    """Its first processes end by themselves, as many as it is told; the next one stays."""

    def __init__(self, *, ending: int) -> None:
        super().__init__()
        self.ending, self.launched = ending, 0

    def _start(self) -> subprocess.Popen[bytes]:
        self.launched += 1
        code = "pass" if self.launched <= self.ending else "import time; time.sleep(600)"
        return subprocess.Popen([sys.executable, "-c", code])

    def wait(self) -> None:
        """It answers at once."""


@pytest.mark.logs_error
def test_a_server_that_ended_is_started_again() -> None:
    server, lost = Ending(ending=1), threading.Event()
    server.launch()
    server.keep(on_lost=lost.set)
    wait_for(lambda: server.launched == 2 and server.is_up)
    server.stop()
    assert not server.is_lost
    assert not lost.wait(0.2)


@pytest.mark.logs_error
def test_a_server_that_ends_again_and_again_is_given_up() -> None:
    server, lost = Ending(ending=9), threading.Event()
    server.launch()
    server.keep(on_lost=lost.set)
    assert lost.wait(60)
    assert (server.launched, server.is_lost, server.is_up) == (2, True, False)


class Deaf(EmbeddedServer):
    """Its process does not end when it is told to."""

    def _start(self) -> subprocess.Popen[bytes]:
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)"
        process = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(600)"], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        return process


def test_a_server_says_how_it_ended_if_it_may_not_have_recorded_all() -> None:
    assert EmbeddedServer().stop() == ""
    deaf = Deaf()
    deaf.launch()
    assert "still recording after 0.1 s, and was killed" in deaf.stop(within_s=0.1)
    killed = Ending(ending=0)
    killed.launch()
    assert killed.process
    killed.process.kill()
    killed.process.wait()
    assert "exit code -9" in killed.stop()
    in_order = Ending(ending=0)
    in_order.launch()
    assert in_order.stop() == ""
