"""The document says what the service does: every answer to generated requests is one that it describes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from hookline.api.service.service import Service

EXAMPLES = 8


def test_no_answer_is_undocumented(client: httpx.Client) -> None:
    document = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) >= 9
    with requests.Session() as session:
        for operation in operations:
            for mode in GenerationMode:
                answers(operation.as_strategy(generation_mode=mode), session)


def answers(cases: SearchStrategy[Case], session: requests.Session) -> None:
    """Send requests, and hold the answers against the document."""

    @given(case=cases)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def check(case: Case) -> None:
        # No schema knows which videos there are.
        response = case.call_and_validate(session=session, excluded_checks=[positive_data_acceptance])
        assert response.status_code < 500
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]

    try:
        check()
    except Unsatisfiable:  # nothing about a request without parameters can be wrong
        return


def test_errors_outside_of_routes_are_problems_too(client: httpx.Client, videos: Path) -> None:
    ask = {"video_path": str(videos / "first.mp4")}
    sent = {
        404: client.get("/nowhere"),
        405: client.put("/jobs"),
        400: client.post("/jobs", content=b"{", headers={"Content-Type": "application/json"}),
        413: client.post("/jobs", json={**ask, "top_n": "9" * 100_000}),
    }
    for status, answer in sent.items():
        assert answer.status_code == answer.json()["status"] == status
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert sent[405].headers["Allow"] == "GET, POST"
    chunked = client.post("/jobs", content=(b"x" * 1000 for _ in range(100)))
    assert chunked.status_code == 413


def test_a_service_with_keys_lets_only_their_owners_in(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"shop": hashlib.sha256(b"k-1").hexdigest()}
    monkeypatch.setattr(service.access, "_hashes", keys)
    refused = client.get("/jobs")
    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthorized")
    assert client.post("/analyze_timeline_path", json={"video_path": "/etc/passwd"}).status_code == 401
    assert client.get("/jobs/1/events").status_code == 401
    assert client.get("/jobs", headers={"Authorization": "Bearer k-1"}).status_code == 200
    assert client.get("/health").status_code == client.get("/readyz").status_code == 200
