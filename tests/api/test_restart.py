"""A service that is stopped or killed: no accepted job is lost, and no caller is left without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from hookline.lingering import UPKEEP
from tests.api.conftest import finished
from tests.cluster import runs
from tests.integration.conftest import free_ports
from tests.media import numbered_video
from tests.prefect_home import environment_of_a_user
from tests.waiting import patience, wait_for

pytestmark = pytest.mark.integration


@contextmanager
def serving(folder: Path, models: Path, *, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        *(sys.executable, "-m", "hookline", "serve", str(folder / "videos"), str(folder / "output")),
        *(f"--serve.port={port}", f"--serve.state_dir={folder / 'state'}", "--serve.shutdown_seconds=0"),
        *(f"--fast.model={models}/videomae", f"--deep.model={models}/videollama3"),
        *("--deep.max_new_tokens=160", "--windows.window_seconds=5", "--engine.device=cpu"),
        *("--select.pattern=of-a-library/*", "--speech.transcribe=false"),
    ]
    environment = environment_of_a_user(folder / "unused") | {"COLUMNS": "200"}
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment)
    try:
        wait_for(lambda: b"Listening at " in log.read_bytes() or process.poll() is not None, 120)
        yield process
    finally:
        process.kill()
        process.wait()


class Caller:
    """One who waits for an answer, and asks again with the same key whenever the service is away."""

    def __init__(self, client: httpx.Client, ask: dict[str, Any], *, key: str) -> None:
        self._client, self._ask, self._key = client, ask, {"Idempotency-Key": key}
        self.told: list[str] = []

    def answer(self) -> dict[str, Any]:
        return wait_for(self._asked, 120, or_say=lambda: self.told[-3:]) or {}

    def _asked(self) -> dict[str, Any] | None:
        try:
            response = self._client.post("/analyze_timeline_path", json=self._ask, headers=self._key)
        except httpx.TransportError as error:
            self.told.append(type(error).__name__)
            return None
        if response.status_code != 200:
            self.told.append(response.json()["type"])
        return response.json() if response.status_code == 200 else None


def prefect_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    (server,) = [child for child in psutil.Process(process.pid).children() if runs(child, "hookline.server")]
    return server


def test_jobs_survive_a_stop_a_kill_and_the_end_of_their_prefect_server(
    demo_models: Path, tmp_path: Path
) -> None:
    """Every caller gets the answer to what they asked for, and it is worked out once."""
    (tmp_path / "videos").mkdir()
    video = numbered_video(tmp_path / "videos" / "long.mp4", seconds=16, fps="5")
    ask = {"video_path": str(video), "stride_seconds": 1}
    port = free_ports(1)
    start = partial(serving, tmp_path, demo_models, port=port)
    logs = [tmp_path / f"log-{number}" for number in range(3)]
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=patience(120), trust_env=False)

    def status(job: dict[str, Any]) -> str:
        return str(client.get(f"/jobs/{job['id']}").json()["status"])

    with client, ThreadPoolExecutor(8) as pool:
        with start(log=logs[0]) as process:
            callers = {
                top_n: Caller(client, {**ask, "top_n": top_n}, key=f"k{top_n}") for top_n in (10, 1, 2)
            }
            answers = {10: pool.submit(callers[10].answer)}
            wait_for(lambda: client.get("/jobs").json()["jobs"])
            (job,) = client.get("/jobs").json()["jobs"]
            answers |= {top_n: pool.submit(callers[top_n].answer) for top_n in (1, 2)}
            queued = client.post("/jobs", json={**ask, "top_n": 3}).json()
            wait_for(lambda: status(job) == "running")
            process.terminate()
            assert process.wait(patience(60)) == 0
        assert "Not used, as each request names its video: select.pattern: 'of-a-library/*'" in (
            logs[0].read_text()
        )
        with start(log=logs[1]) as process:
            assert status(queued) == "queued"
            wait_for(lambda: status(job) == "running")
            os.kill(process.pid, signal.SIGKILL)
        assert all("/problems/draining" in caller.told for caller in callers.values())
        with start(log=logs[2]) as process:
            wait_for(lambda: status(job) == "running")
            prefect_of(process).kill()
            wait_for(lambda: client.get("/readyz").status_code == 503)
            assert client.get("/livez").status_code == client.get(f"/jobs/{job['id']}").status_code == 200
            wait_for(lambda: client.get("/readyz").status_code == 200)
            found = {top_n: answer.result() for top_n, answer in answers.items()}
            assert {top_n: len(answer["top_segments"]) for top_n, answer in found.items()} == {
                top_n: top_n for top_n in callers
            }
            assert (
                finished(client, {**queued, "status_url": f"/jobs/{queued['id']}"})["status"] == "succeeded"
            )
            assert status(job) == "succeeded"
            assert len(client.get("/jobs").json()["jobs"]) == 4
            said = [line for line in logs[2].read_text().splitlines() if job["id"] in line]
            (request,) = {line.partition("request=")[2].split()[0] for line in said if "begins" in line}
            logged = logs[2].read_text()
            assert "the Prefect server of this service ended by itself, with exit code -9" in logged
            assert f"request={request} run=" in logged  # what the flow says of a job is found by its request
            assert "Finished in state" not in logged
            assert not [*tmp_path.rglob(UPKEEP)]  # all jobs can be asked for, however old
