"""What a run has done, sent to a Prometheus push gateway."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tasks.adapters import counters
from tasks.core.manifest import Manifest
from tests.waiting import patience

MANIFEST = Manifest.model_validate(
    {
        "run_id": "20261126T020000Z-0a1b2c",
        "run_date": "2026-11-26",
        "state": "Completed",
        "seconds": {"whole": 9, "fast": 2.5},
        "counts": {"windows": 7, "candidates": 4, "cached": 1},
        "throughput": {"deep": {"prompt_tokens": 300, "output_tokens": 20}},
    }
)


@contextmanager
def gateway() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A real listener; yields its address and what it was sent: method, path, body."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            received.append((self.command, self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_a_run_sends_what_the_service_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway() as (address, received):
        counters.push(MANIFEST, deployment=lambda: pytest.fail("nobody named a gateway"))
        monkeypatch.setenv("HOOKLINE_PUSH_GATEWAY", address)
        counters.push(MANIFEST, deployment=lambda: "nightly")
    ((method, path, body),) = received
    assert (method, path) == ("PUT", "/metrics/job/hookline/deployment/nightly")
    samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
    sent = {"/".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}
    assert sent["hookline_windows_total"] == 7
    assert sent["hookline_segments_total"] == 4
    assert sent["hookline_cached_segments_total"] == 1
    assert sent["hookline_stage_seconds_total/fast"] == 2.5
    assert sent["hookline_tokens_total/prompt"] == 300
    assert sent["hookline_tokens_total/output"] == 20


def test_a_gateway_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "PUSH_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HOOKLINE_PUSH_GATEWAY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            counters.push(MANIFEST, deployment=lambda: "none")
        assert time.monotonic() - began < patience(5)
