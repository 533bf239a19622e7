"""A real S3 server for the tests of this folder: Ceph's gateway."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3 import Bucket, Server, clean_aws, point_at

__all__ = ["clean_aws"]

PROGRAMS = ["radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph"]
PACKAGES = "radosgw ceph-mon ceph-osd"
SCRIPT = Path(__file__).with_name("radosgw.sh")
PORTS = 3
STOP_TIMEOUT_S = 30


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that nobody listens on."""
    for first in range(20_000, 30_000, count):
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
