"""A service that is stopped or killed: no accepted job is lost, and no caller is left without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import finished
from tests.media import numbered_video
from tests.prefect_home import environment_of_a_user
from tests.waiting import patience, wait_for

pytestmark = pytest.mark.integration


@contextmanager
def serving(
    folder: Path, models: Path, *, log: Path
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    command = [
        *(sys.executable, "-m", "hookline", "serve", str(folder / "videos"), str(folder / "output")),
        *("--serve.port=0", f"--serve.state_dir={folder / 'state'}", "--serve.shutdown_seconds=0"),
        *(f"--fast.model={models}/videomae", f"--deep.model={models}/videollama3"),
        *("--deep.max_new_tokens=160", "--windows.window_seconds=5", "--engine.device=cpu"),
    ]
    environment = environment_of_a_user(folder / "unused") | {"COLUMNS": "200"}
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment)
    try:
        wait_for(lambda: b"Listening at " in log.read_bytes() or process.poll() is not None, 120)
        address = log.read_text().partition("Listening at ")[2].split()[0]
        with httpx.Client(base_url=address, timeout=patience(120), trust_env=False) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def test_jobs_survive_a_stop_and_a_kill(demo_models: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    video = numbered_video(tmp_path / "videos" / "long.mp4", seconds=16, fps="5")
    ask = {"video_path": str(video), "top_n": 10, "stride_seconds": 1}
    key, answers = {"Idempotency-Key": "mine"}, list[httpx.Response]()

    def status(client: httpx.Client, job: dict[str, Any]) -> str:
        return str(client.get(f"/jobs/{job['id']}").json()["status"])

    with serving(tmp_path, demo_models, log=tmp_path / "log-1") as (process, client):
        waiting = threading.Thread(
            target=lambda: answers.append(client.post("/analyze_timeline_path", json=ask, headers=key))
        )
        waiting.start()
        wait_for(lambda: client.get("/jobs").json()["jobs"])
        job = client.get("/jobs").json()["jobs"][0]
        queued = client.post("/jobs", json={**ask, "top_n": 1}).json()
        wait_for(lambda: status(client, job) == "running")
        process.terminate()
        assert process.wait(patience(60)) == 0
        waiting.join()
    assert (answers[0].status_code, answers[0].json()["type"]) == (503, "/problems/draining")
    with serving(tmp_path, demo_models, log=tmp_path / "log-2") as (process, client):
        assert status(client, queued) == "queued"
        wait_for(lambda: status(client, job) == "running")
        os.kill(process.pid, signal.SIGKILL)
    with serving(tmp_path, demo_models, log=tmp_path / "log-3") as (_, client):
        again = client.post("/analyze_timeline_path", json=ask, headers=key)
        assert again.status_code == 200
        assert len(again.json()["top_segments"]) == 10
        shown = client.get(f"/jobs/{job['id']}").json()
        assert (
            shown["status"],
            finished(client, {**queued, "status_url": f"/jobs/{queued['id']}"})["status"],
        ) == (
            "succeeded",
            "succeeded",
        )
        said = [line for line in (tmp_path / "log-3").read_text().splitlines() if job["id"] in line]
        (request,) = {line.partition("request=")[2].split()[0] for line in said if "begins" in line}
        logged = (tmp_path / "log-3").read_text()
        assert f"request={request} run=" in logged  # what the flow says of a job is found by its request
        assert "Finished in state" not in logged
        client.delete(f"/jobs/{job['id']}")
        assert len(client.get("/jobs").json()["jobs"]) == 2
