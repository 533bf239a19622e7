"""A hub on this machine that fails as it is told to.

PYTEST_DONT_REWRITE: loaded as a plugin by the test modules that say
`pytest_plugins = ["tests.adapters.models.fake_hub"]`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from tasks.adapters.models import hub as hub_module

OLD, NEW = "a" * 40, "b" * 40
MODEL = "owner/name"
FILES = {"config.json": b"{}", "model.safetensors": save({"w": np.zeros(1, np.float32)})}


class Hub(ThreadingHTTPServer):
    """A hub that has one checkpoint, and does what `mode` says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.mode, self.commit, self.released = "well", OLD, threading.Event()
        self.files, self.requests = dict(FILES), list[str]()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        mode, path = self.server.mode, self.path
        self.server.requests.append(path)
        is_file = "/resolve/" in path
        if mode == "silent" or (mode == "silent later" and ("/tree/" in path or is_file)):
            self.server.released.wait(60)
        elif mode == "portal":
            self.answer(b"<html>Please log in</html>", body=body)
        elif mode.isdecimal():
            self.answer(b"{}", status=int(mode), body=body)
        elif mode in ("GatedRepo", "RepoNotFound", "RevisionNotFound"):
            self.answer(b"{}", status=403 if mode == "GatedRepo" else 404, body=body, error=mode)
        elif mode == "disabled":
            said = "Access to this resource is disabled."
            self.answer(b"{}", status=403, body=body, message=said)
        elif mode == "cut" and is_file and body:
            self.answer(b"{", length=2000)
        else:
            self.answer(self.well(path), body=body, length=2000 if mode == "cut" and is_file else None)

    def well(self, path: str) -> bytes:
        has, commit = self.server.files, self.server.commit
        files = [{"type": "file", "path": n, "size": len(c), "oid": commit} for n, c in has.items()]
        if "/resolve/" in path:
            return has[path.rsplit("/", 1)[-1]]
        if "/tree/" in path:
            return json.dumps(files).encode()
        siblings = [{"rfilename": n, "size": len(c)} for n, c in has.items()]
        return json.dumps({"id": MODEL, "sha": commit, "siblings": siblings}).encode()

    def answer(
        self,
        content: bytes,
        *,
        status: int = 200,
        body: bool = True,
        length: int | None = None,
        error: str = "",
        message: str = "",
    ) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(length or len(content))}
        if status == 200 and self.server.mode != "portal":
            commit = self.server.commit
            headers |= {"ETag": f'"{commit[:9]}{len(content)}"', "X-Repo-Commit": commit}
        headers |= {"X-Error-Code": error} if error else {}
        headers |= {"X-Error-Message": message} if message else {}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that this process knows, with a cache of its own."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(hub_module, "HUB_TIMEOUT_S", 60)  # in time, however busy this machine is
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # its pauses
        yield server
        server.released.set()
        server.shutdown()
