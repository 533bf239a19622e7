"""What docs/api.md shows is run, against a service and a video, and what it says of webhooks is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hookline.api.service.service import Service
from hookline.api.webhooks.delivery import Delivery
from tests import ROOT
from tests.api.webhooks.receiver import SECRET, local_targets, receiving
from tests.waiting import wait_for

PAGE = (ROOT / "docs" / "api.md").read_text()
ADDRESS, VIDEO = "http://127.0.0.1:8000", "/media/show/episode-12.mp4"


def example(language: str, mark: str, client: httpx.Client, video: Path) -> str:
    """The code blocks with a mark in them as one script, for this service and this video."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    found = "".join(block for block in blocks if mark in block)
    assert ADDRESS in found
    assert VIDEO in found
    return found.replace(ADDRESS, str(client.base_url).rstrip("/")).replace(VIDEO, str(video))


def test_the_lines_for_curl_run(client: httpx.Client, videos: Path) -> None:
    script = "set -euo pipefail\n" + example("sh", "curl", client, videos / "first.mp4")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"top_segments":[{') == 2
    assert "event: ended" in done.stdout
    assert done.stdout.rpartition('"status":"')[2].startswith("succeeded")  # what DELETE answered


def test_the_lines_for_python_run(client: httpx.Client, videos: Path) -> None:
    script = example("python", "import httpx", client, videos / "first.mp4")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    segments = done.stdout.rpartition("\nid: ")[2].splitlines()
    assert any(re.fullmatch(r"[\d.]+ [\d.]+ \d+", line) for line in segments), done.stdout


def test_a_job_is_sent_where_its_request_says(
    client: httpx.Client, service: Service, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = {"video_path": str(videos / "first.mp4"), "top_n": 4, "webhook_url": "https://hooks.example/"}
    refused = client.post("/jobs", json=ask)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/webhook_refused")
    assert "serve.webhook_hosts" in refused.json()["detail"]
    with receiving(tmp_path) as receiver:
        delivery = Delivery(local_targets(receiver), [SECRET], trusted=receiver.trusted)
        monkeypatch.setattr(service.webhooks, "_delivery", delivery)
        ask["webhook_url"] = receiver.url
        jobs = [client.post("/jobs", json=ask, headers={"Idempotency-Key": "w"}).json() for _ in range(2)]
        wait_for(lambda: receiver.told)
        assert client.post("/analyze_timeline_path", json=ask).status_code == 200
        wait_for(lambda: len(receiver.told) == 2)
        shown = client.get(jobs[0]["status_url"]).json()
    first, second = receiver.told
    place = f"/jobs/{jobs[1]['id']}"
    paths = {"status_url": place, "result_url": f"{place}/result", "cancel_url": place}
    assert json.loads(first.body) == json.loads(second.body) == shown | paths
    assert shown["status"] == "succeeded"
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    assert 'hookline_webhooks_total{outcome="delivered"} 2.0' in client.get("/metrics").text


def test_every_code_of_a_problem_is_on_the_page() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "hookline" / "api").rglob("*.py"))
    codes = set(re.findall(r'(?:Problem|__init__)\(\s*\d{3}, "(\w+)"', sources))
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in PAGE} <= {"unexpected", "bad_request"}
