"""An S3 server in this process, a way to look past Hookline into its buckets, and a bad network.

PYTEST_DONT_REWRITE: loaded as a plugin by the test modules that say `pytest_plugins = ["tests.s3"]`.
"""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import boto3
import pytest
from botocore.loaders import JSONFileLoader
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3 import models as moto_models
from moto.server import ThreadedMotoServer

from tasks.adapters.storage import s3 as s3_adapter
from tasks.adapters.storage import store as store_adapter

ACCESS_KEY = "testing-access-key"
SECRET_KEY = "testing-secret-key"
DRIP_S = 0.05
BLOCK = 2**20
"""Of `small_blocks`, in bytes."""

SEEN_HEADERS = (
    b"authorization:",
    b"range:",
    b"if-",
    b"x-amz-checksum-",
    b"x-amz-sdk-checksum",
    b"x-amz-trailer",
    b"x-amz-request-payer",
)
"""Headers that belong to the requests a `Disturbance` sees."""


@dataclass(frozen=True)
class Server:
    """Where an S3 server listens, and who may use it."""

    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.rpartition("/")[2].partition(":")
        return host, int(port)

    def new_bucket(self, name: str = "", **options: Any) -> Bucket:
        """A fresh bucket; `options` are those of boto3's `create_bucket`."""
        name = name or f"bucket-{uuid4().hex[:12]}"
        _client(self).create_bucket(Bucket=name, **options)
        return Bucket(_client(self), name)


@cache
def _client(server: Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )


@dataclass(frozen=True)
class Bucket:
    """A bucket as another program sees it."""

    client: Any
    name: str

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, body: bytes = b"x", **options: Any) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body, **options)

    def get(self, key: str) -> bytes:
        with self.client.get_object(Bucket=self.name, Key=key)["Body"] as body:
            return bytes(body.read())

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def uploads(self) -> list[str]:
        """Keys of multipart uploads that were begun and neither finished nor given up."""
        reply = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in reply.get("Uploads", ())]


@dataclass
class Fault:
    """What goes wrong, with which requests, and how often.

    It concerns requests that have `only` in their line or headers, and have not `unless`.
    `reply` answers with an error of this `status`, `code` and `message` instead of asking the server; `reset`
    and `close` break the connection after so many bytes of the response; `stall` never answers; `drip` lets
    the rest come a byte at a time, until the proxy closes.
    """

    action: Literal["reply", "reset", "close", "stall", "drip"]
    method: str = "GET"
    only: str = ""
    unless: str = "no request has this"
    times: int = 1
    after_bytes: int = 0
    status: int = 503
    code: str = "SlowDown"
    message: str = "<Message>as told</Message>"

    def concerns(self, request: str) -> bool:
        method, _, rest = request.partition(" ")
        return method in self.method.split("|") and self.only in rest and self.unless not in rest

    def __str__(self) -> str:
        """Short, for the name of a test."""
        what = f"{self.status}" if self.action == "reply" else f"{self.action} at {self.after_bytes}"
        return f"{what} {self.times}x {self.method} {self.only}".rstrip()


@dataclass
class Disturbance:
    """The state of a `FaultProxy`: faults to come, requests seen, and what to do before each.

    `aliases` are words of the server and what the client is shown in their place, of equal length.
    """

    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda request: None
    aliases: dict[bytes, bytes] = field(default_factory=dict)

    def next_fault(self, request: str) -> Fault | None:
        self.requests.append(request)
        self.before(request)
        for fault in self.faults:
            if fault.times and fault.concerns(request):
                fault.times -= 1
                return fault
        return None


class FaultProxy(socketserver.ThreadingTCPServer):
    """A proxy in front of an S3 server that breaks what it is told to. One request a connection."""

    allow_reuse_address = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.upstream = upstream
        self.disturbance = Disturbance()
        self.closing = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Exchange(socketserver.BaseRequestHandler):
    server: FaultProxy

    def handle(self) -> None:
        head, rest = self._head()
        if not head:
            return
        lines = head.split(b"\r\n")
        wanted = [line.decode() for line in lines if line.lower().startswith(SEEN_HEADERS)]
        signed = [b"signed"] if b"\nauthorization:" in head.lower() else [b"unsigned"]
        request = " ".join([lines[0].decode(), *wanted, signed[0].decode()])
        fault = self.server.disturbance.next_fault(request)
        if fault and fault.action == "stall":
            self.server.closing.wait()
        elif fault and fault.action == "reply":
            self._reply(fault, with_body=fault.status != 304 and not request.startswith("HEAD"))
        else:
            kept = [line for line in lines if not line.lower().startswith(b"connection:")]
            for theirs, ours in self.server.disturbance.aliases.items():
                kept = [line.replace(ours, theirs) for line in kept]
            self._pass_on(b"\r\n".join([*kept, b"Connection: close", b"", rest]), fault)

    def _head(self) -> tuple[bytes, bytes]:
        head = b""
        while b"\r\n\r\n" not in head:
            more = self.request.recv(65536)
            if not more:
                return b"", b""
            head += more
        before, _, rest = head.partition(b"\r\n\r\n")
        return before, rest

    def _reply(self, fault: Fault, *, with_body: bool) -> None:
        body = f"<Error><Code>{fault.code}</Code>{fault.message}</Error>".encode()
        head = f"HTTP/1.1 {fault.status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.request.sendall(head.encode() + (body if with_body else b""))

    def _pass_on(self, request: bytes, fault: Fault | None) -> None:
        with socket.create_connection(self.server.upstream) as server:
            server.sendall(request)
            upload = threading.Thread(target=_pump, args=(self.request, server))
            upload.start()
            left = fault.after_bytes if fault and fault.action != "drip" else None
            if fault and fault.action == "drip":
                self._drip(server, after_bytes=fault.after_bytes)
            while left != 0 and (block := server.recv(65536 if left is None else min(left, 65536))):
                left = None if left is None else left - len(block)
                for theirs, ours in self.server.disturbance.aliases.items():
                    block = block.replace(theirs, ours)
                self.request.sendall(block)
            # Reading ends first: a socket that is being read from would survive its closing.
            self.request.shutdown(socket.SHUT_RD)
            server.shutdown(socket.SHUT_RDWR)
            upload.join()
            if fault and fault.action == "reset":
                # To linger for no time at all is to send RST instead of FIN.
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _drip(self, server: socket.socket, *, after_bytes: int) -> None:
        while block := server.recv(min(after_bytes, 65536) or 1):
            self.request.sendall(block)
            after_bytes -= min(after_bytes, len(block))
            if not after_bytes and self.server.closing.wait(DRIP_S):
                return

    def finish(self) -> None:
        self.request.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(65536):
            target.sendall(block)
    except OSError:
        return


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Server]:
    """An S3 server in this process; every test makes its own buckets."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Server(f"http://{host}:{port}")
    server.stop()


@pytest.fixture(scope="session")
def described_once() -> Iterator[None]:
    """The files that describe S3 are parsed once, and not anew for the connection of each test."""
    load = cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(JSONFileLoader, "load_file", lambda _, path: load(path))
        yield


@pytest.fixture
def clean_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, described_once: None) -> Iterator[None]:
    """No AWS setting of this machine reaches the test, and no connection outlives it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    yield
    s3_adapter.close_connections()


def aws_environment(server: Server) -> dict[str, str]:
    """The standard variables that lead to the server."""
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }


def point_at(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Set the standard AWS variables for `server`; ask for `clean_aws` as well."""
    s3_adapter.close_connections()
    for name, value in aws_environment(server).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, clean_aws: None, moto_server: Server) -> Server:
    """The standard AWS variables point at the server."""
    point_at(monkeypatch, moto_server)
    return moto_server


@pytest.fixture
def bucket(aws: Server) -> Bucket:
    """An empty bucket, there for Hookline too."""
    return aws.new_bucket()


def fill(bucket: Bucket, objects: Mapping[str, bytes]) -> None:
    """Put objects straight into moto's memory, which spares large or many requests."""
    backend = moto_models.s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for key, body in objects.items():
        backend.put_object(bucket.name, key, body)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a few MB is large: it is read and written in blocks of a MiB instead of 16."""
    monkeypatch.setattr(store_adapter, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(s3_adapter, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(moto_models, "S3_UPLOAD_PART_MIN_SIZE", BLOCK)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, aws: Server) -> Iterator[Disturbance]:
    """Hookline's way to the server leads through a proxy; a `Bucket` goes past it."""
    with disturbed(monkeypatch, aws) as disturbance:
        yield disturbance


@contextmanager
def disturbed(monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[Disturbance]:
    """The standard AWS variables lead to a proxy before `server`; what it does wrong is yet to be said."""
    with running_proxy(server) as proxy:
        point_at(monkeypatch, replace(server, endpoint=proxy.endpoint))
        yield proxy.disturbance
        s3_adapter.close_connections()


@contextmanager
def holding_back(server: Server, path: str) -> Iterator[FaultProxy]:
    """A way to the server by which this object comes a byte at a time, until the proxy is closing."""
    with running_proxy(server) as proxy:
        proxy.disturbance.faults.append(Fault("drip", only=path, times=10**6, after_bytes=2000))
        yield proxy


@contextmanager
def running_proxy(server: Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(server.address)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.shutdown()
        thread.join()
        proxy.server_close()
