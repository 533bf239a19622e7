"""`docs/operations.md` is followed to the letter."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ROOT
from tests.integration.reader import Reader

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

GUIDE = (ROOT / "docs" / "operations.md").read_text()


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


def test_the_guide_leads_from_nothing_to_a_nightly_run(clone: Path, tmp_path: Path, webhook: Webhook) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 12
    with ExitStack() as terminals:
        reader = Reader(clone, tmp_path, terminals)
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
