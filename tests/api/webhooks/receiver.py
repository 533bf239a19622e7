"""A receiver of webhooks on this machine: over TLS, under any name, and as faulty as wanted."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hookline.api.webhooks.targets import Targets

HOST = "hooks.example"
LOCAL = "127.0.0.1"
SECRET = b"ABC" * 8
SLOW = 0
"""An answer that never gets as far as its first line, although there is always one more byte of it."""


class Told(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers with the statuses in `answers`, one after the other, and with 200 when there are none left."""

    def __init__(self, folder: Path) -> None:
        told: list[Told] = []
        answers: deque[int] = deque()
        over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = answers.popleft() if answers else 200
                told.append(Told(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if status == SLOW:
                    with suppress(OSError):
                        for byte in b"HTTP/1.1 200 " + b"O" * 200:
                            self.wfile.write(bytes([byte]))
                            if over.wait(0.05):
                                return
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"https://{self.headers['Host']}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.told, self.answers, self.over = told, answers, over
        self.server = ThreadingHTTPServer((LOCAL, 0), Handler)
        self.certificate = _certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.place = f"{HOST}:{self.server.server_port}"
        self.url = f"https://{self.place}/hook?for=shop"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def trusted(self) -> ssl.SSLContext:
        """Trusts this receiver, and no other host of the world."""
        return ssl.create_default_context(cafile=str(self.certificate))


@contextmanager
def receiving(folder: Path) -> Iterator[Receiver]:
    """A receiver for the block."""
    made = Receiver(folder)
    try:
        yield made
    finally:
        made.over.set()
        made.server.shutdown()
        made.server.server_close()


def local(host: str, port: int) -> Sequence[str]:
    """Every name is one of this machine."""
    return [LOCAL]


def local_targets(
    *receivers: Receiver,
    hosts: Sequence[str] = (),
    resolve: Callable[[str, int], Sequence[str]] = local,
    may_connect: Callable[[str], bool] = LOCAL.__eq__,
) -> Targets:
    """Targets that may be on this machine, which no setting allows."""
    return Targets([*(each.place for each in receivers), *hosts], resolve=resolve, may_connect=may_connect)


def _certificate(folder: Path) -> Path:
    """A certificate for `HOST` that is its own authority, with its key, in a file."""
    file = folder / "receiver.pem"
    if file.exists():
        return file
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return file
