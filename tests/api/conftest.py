"""One service for all tests that a process runs: real jobs on a Prefect server, demo models, short videos."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from hookline.api.contract.settings import Serve
from hookline.api.service.service import Service
from hookline.serve import listening
from tasks.core.settings import Settings
from tests.library import quick_settings, write_broken_videos, write_good_videos
from tests.media import numbered_video
from tests.waiting import patience, wait_for

MAX_QUEUED = 3


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that can be ranked, one of them long, and some that cannot."""
    folder = tmp_path_factory.mktemp("service") / "videos"
    write_good_videos(folder)
    write_broken_videos(folder)
    numbered_video(folder / "long.mp4", seconds=60, fps="5")
    return folder


@pytest.fixture(scope="session")
def settings(videos: Path, demo_models: Path) -> Settings:
    return quick_settings(videos, videos.parent / "output", demo_models)


@pytest.fixture(scope="session")
def service(prefect: None, settings: Settings, videos: Path) -> Iterator[Service]:
    from prefect.settings import PREFECT_API_URL

    from hookline.api.assembly import assembled
    from hookline.api.jobs import prefect_runs

    serve = Serve(max_queued=MAX_QUEUED, state_dir=str(videos.parent / "state"))
    serve.state.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        # Or it would take up jobs of tests beside these: their server is the same.
        patched.setattr(prefect_runs, "TAG", f"{prefect_runs.TAG}-{os.getpid()}")
        with assembled(settings, serve, api_url=PREFECT_API_URL.value()) as service:
            yield service


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[httpx.Client]:
    """Talks to the service over HTTP."""
    from hookline.api.app import create_app

    with listening("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(service), log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = "http://{}:{}".format(*listener.getsockname())
        with httpx.Client(base_url=address, timeout=patience(60), trust_env=False) as client:
            wait_for(lambda: server.started)
            yield client
        server.should_exit = True
        thread.join()


def finished(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job once it is final."""

    def final() -> dict[str, Any] | None:
        shown: dict[str, Any] = client.get(job["status_url"]).json()
        return shown if shown["status"] in ("succeeded", "failed", "canceled") else None

    return wait_for(final) or {}


@contextmanager
def at_work(client: httpx.Client, path: Path) -> Iterator[dict[str, Any]]:
    """A job that takes its time: it runs when the block begins, and is canceled after it."""
    ask = {"video_path": str(path), "top_n": 100, "stride_seconds": 1}
    job: dict[str, Any] = client.post("/jobs", json=ask).json()
    wait_for(lambda: client.get(job["status_url"]).json()["status"] == "running")
    try:
        yield job
    finally:
        client.delete(job["cancel_url"])
        finished(client, job)
