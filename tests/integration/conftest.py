"""What the tests of this folder share: Ceph's gateway for S3, Redis, and reports in a browser."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.adapters.report.page import render
from tasks.adapters.storage.analysis_cache import redis_client
from tasks.core.views.report import Report
from tests import ROOT
from tests.browser import look
from tests.s3 import Bucket, Server, clean_aws, described_once, point_at, small_blocks
from tests.waiting import wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["clean_aws", "described_once", "small_blocks"]


PROGRAMS = ["radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph"]
PACKAGES = "radosgw ceph-mon ceph-osd"
SCRIPT = Path(__file__).with_name("radosgw.sh")
PORTS = 3
STOP_TIMEOUT_S = 30

REDIS_START_TIMEOUT_S = 10


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that nobody listens on."""
    places = range(20_000, 30_000, count)
    for first in random.sample(places, len(places)):  # other processes of the tests look, too
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, each in enumerate(sockets):
                each.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        else:
            return first
        finally:
            for each in sockets:
                each.close()
    raise RuntimeError("no free ports between 20000 and 30000")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This clone before `make demo`."""
    folder = tmp_path_factory.mktemp("clone")
    for path in ROOT.iterdir():
        if path.name != "demo":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def show(browser: Chrome, tmp_path: Path) -> Callable[..., Chrome]:
    """Opens a report from a file, at a width in CSS pixels."""

    def shown(report: Report, *, width: int = 1280, part: str = "", **media: str) -> Chrome:
        page = tmp_path / "index.html"
        page.write_text(render(report), encoding="utf-8")
        look(
            browser, width=width, **{"prefers_reduced_motion": "reduce"} | media
        )  # what glides is hard to hit
        browser.get("about:blank")
        browser.get(f"{page.as_uri()}{part}")
        return browser

    return shown


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway of our own, started once (about 15 s); skipped where it is not installed."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install --no-install-recommends {PACKAGES}")
    command = [str(SCRIPT), str(tmp_path_factory.mktemp("radosgw")), str(free_ports(PORTS))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready, *where = process.stdout.readline().split() or [""]
        try:
            assert ready == "ready", "radosgw.sh did not start; its reasons are above"
            yield Server(*where)
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


@pytest.fixture
def bucket(radosgw: Server, clean_aws: None, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket of the gateway; the standard AWS variables point there."""
    point_at(monkeypatch, radosgw)
    return radosgw.new_bucket()


@dataclass(frozen=True)
class RedisServer:
    """A Redis of our own on this machine, and the process it is."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server that keeps nothing on disk; `options` are those of redis.conf."""
    port = free_ports(1)
    log = folder / f"redis-{port}.log"
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([*command, "--logfile", str(log), *options]) as process:
        server = RedisServer(port, process)
        try:
            wait_for(server.is_up, REDIS_START_TIMEOUT_S, or_say=log.read_text)
            yield server
        finally:
            server.stop()


@pytest.fixture
def start_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers (about 50 ms each) that end with the test; skipped where there is no Redis."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server: apt-get install --no-install-recommends redis-server")
    for name in ["HOOKLINE_REDIS_PASSWORD", "HOOKLINE_REDIS_USERNAME"]:
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as servers:
        yield lambda *options: servers.enter_context(running_redis(tmp_path, *options))
        redis_client.cache_clear()
