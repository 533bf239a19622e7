"""The buttons on the page of a run: Suspend, Resume, Cancel and Retry, pressed as the page presses them.

Each story is one run of a deployment through several buttons. All go on at once, on one server and worker.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

from tests.adapters.video.test_timeline import slow_video
from tests.cluster import Cluster, cluster
from tests.integration.conftest import free_ports
from tests.integration.prefect_ui import PrefectServer, prefect_server
from tests.library import quick_settings
from tests.loopback import loopback
from tests.media import numbered_video, sound_only
from tests.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

STEP_S = 300
"""The longest that anything here takes on a busy machine."""

SOON_S = 30
"""From a button to the last process of the run."""

HEARD_AGAIN_S = 65
"""An attempt that begins within a minute of a Cancel may be ended by it, too."""

SILENCE_S = 90
"""What the automation waits until it takes a silent run for crashed, shortened."""

LONG_DEEP_STAGE = {
    "windows": {"window_seconds": [5], "stride_seconds": 1},
    "ranking": {"top_n": 10, "candidate_multiplier": 2},
    "deep": {"batch_size": 1},
}
"""Twenty candidates a video, one after the other."""


@dataclass
class RunOnThePage:
    """A flow run of the deployment `on-demand`, and what it leaves behind."""

    server: PrefectServer
    output: Path
    scratch: Path
    settings: dict[str, Any]
    id: str = ""
    cancelled: float = -math.inf

    def start(self) -> None:
        deployment = self.server.deployment("on-demand")["id"]
        wanted = {"parameters": {"settings": self.settings}, "state": {"type": "SCHEDULED"}}
        self.id = self.post(f"deployments/{deployment}/create_flow_run", wanted)["id"]

    def cancel(self) -> None:
        self.set_state({"type": "CANCELLING", "name": "Cancelling"})
        self.cancelled = time.monotonic()

    def suspend(self) -> None:
        until = (datetime.now(UTC) + timedelta(seconds=600)).isoformat()
        details = {"pause_timeout": until, "pause_reschedule": True}
        self.set_state({"type": "PAUSED", "name": "Suspended", "state_details": details})

    def resume(self) -> None:
        assert self.post(f"flow_runs/{self.id}/resume", {})["status"] == "ACCEPT"

    def retry(self) -> None:
        time.sleep(max(0, self.cancelled + HEARD_AGAIN_S - time.monotonic()))
        self.set_state({"type": "SCHEDULED", "name": "AwaitingRetry"}, force=False)

    def set_state(self, state: dict[str, Any], *, force: bool = True) -> None:
        self.post(f"flow_runs/{self.id}/set_state", {"state": state, "force": force})

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.server.url}/api/{path}"
        while (response := loopback.post(url, json=content)).status_code == 503:
            time.sleep(1)  # SQLite is busy
        return dict(response.raise_for_status().json())

    def on_the_server(self) -> dict[str, Any]:
        url = f"{self.server.url}/api/flow_runs/{self.id}"
        return dict(loopback.get(url).raise_for_status().json())

    @property
    def state(self) -> str:
        return str(self.on_the_server()["state_name"])

    def has_ended(self, state: str) -> None:
        """Wait for a state, and for the processes of the run to be gone; of its work nothing is left."""
        ends = {"Suspended", "Cancelled", "Completed", "CompletedWithFailures", "Failed", "Crashed"}
        wait_for(lambda: self.state in ends, STEP_S, or_say=self.on_the_server)
        assert self.state == state, self.on_the_server()
        wait_for(lambda: not self.processes(), SOON_S)
        left = [path for path in self.scratch.glob("hookline-*/*") if not path.name.startswith("worker-")]
        assert [path.name for path in left] == ["lock"]
        assert not list(self.scratch.glob("hookline-*/worker-*/*"))  # of the Dask worker
        assert json.loads((self.output / ".hookline").read_text())["under_way"] == {}

    def processes(self) -> list[psutil.Process]:
        """The flow's own, those of its GPUs, and its decoders."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                ours = process.environ().get("PREFECT__FLOW_RUN_ID") == self.id
                if ours or Path(process.cwd()).is_relative_to(self.scratch):
                    found.append(process)
        return found

    def stop_its_decoder(self) -> None:
        """Once a video is decoded, that goes on no more: however late a button reaches the run."""

        def stopped() -> bool:
            found = self.decoders()
            with suppress(psutil.Error):  # what only looked into the video has ended meanwhile
                if found and all(process.status() == psutil.STATUS_STOPPED for process in found):
                    return True
                for process in found:
                    process.suspend()
            return False

        wait_for(stopped, STEP_S)

    def decoders(self) -> list[psutil.Process]:
        found = []
        for process in self.processes():
            with suppress(psutil.Error, OSError):
                if Path(process.cwd()).is_relative_to(self.scratch):
                    found.append(process)
        return found

    def analyses(self) -> int:
        return len(list(self.output.glob("analyses/*/*.json")))

    def published(self) -> list[str]:
        kinds = ("runs", "rankings", "windows", "reports")
        return [path.name for kind in kinds for path in self.output.glob(f"{kind}/*")]

    def manifests(self) -> list[dict[str, Any]]:
        """Those of all runs under the output, in their order."""
        return [json.loads(path.read_text()) for path in sorted(self.output.glob("runs/*.json"))]


def through_the_deep_stage(run: RunOnThePage) -> None:
    """Suspended, resumed, cancelled and tried again, each time while VideoLLaMA3 is asked."""
    for name in ("first.mp4", "second.mp4"):
        numbered_video(Path(run.settings["source"]) / name, seconds=40, fps="5")
    run.start()
    wait_for(run.analyses, STEP_S)
    assert run.processes()
    run.suspend()
    run.has_ended("Suspended")
    kept = run.analyses()
    assert 0 < kept < 40, "the deep stage was over before Suspend was noticed"
    run.resume()
    wait_for(lambda: run.analyses() > kept, STEP_S)
    run.cancel()
    run.has_ended("Cancelled")
    assert run.published() == []
    if dask := run.settings["engine"].get("dask_address"):
        with Client(dask, set_as_default=False) as client:
            assert not any(client.processing().values())
    kept = run.analyses()
    run.retry()
    run.has_ended("Completed")
    (manifest,) = run.manifests()
    counts = manifest["counts"]
    assert (counts["ranked"], counts["candidates"], counts["cached"]) == (2, 40, kept)
    assert run.analyses() == 40


def from_a_cancelled_and_from_a_failed_state(run: RunOnThePage) -> None:
    """Cancelled while it decodes; then a video cannot be used, which is more than the settings allow."""
    run.settings["limits"]["max_failed_fraction"] = 0
    source = Path(run.settings["source"])
    slow = slow_video(source / "slow.avi")
    run.start()
    run.stop_its_decoder()
    run.cancel()
    run.has_ended("Cancelled")
    assert run.published() == []
    slow.unlink()
    numbered_video(source / "good.mp4", seconds=10)
    broken = sound_only(source / "broken.mp4")
    run.retry()
    run.has_ended("Failed")
    broken.unlink()
    run.retry()
    run.has_ended("Completed")
    failed, completed = run.manifests()
    assert (failed["state"], completed["state"]) == ("Failed", "Completed")
    assert (failed["counts"]["listed"], completed["counts"]["listed"]) == (2, 1)
    assert json.loads((run.output / "latest.json").read_text())["run_id"] == completed["run_id"]


def suspended_and_forgotten(run: RunOnThePage) -> None:
    """Suspended while it decodes, shortly before a heartbeat; nobody takes it for crashed. Then cancelled."""
    slow_video(Path(run.settings["source"]) / "slow.avi")
    run.start()
    run.stop_its_decoder()
    run.suspend()
    us = {"prefect.resource.id": f"prefect.flow-run.{run.id}"}
    tag = {"prefect.resource.id": "prefect.tag.hookline", "prefect.resource.role": "tag"}
    beat = {"event": "prefect.flow-run.heartbeat", "resource": us, "related": [tag]}
    when = datetime.now(UTC).isoformat()
    url = f"{run.server.url}/api/events"
    loopback.post(url, json=[beat | {"occurred": when, "id": run.id}]).raise_for_status()
    run.has_ended("Suspended")
    time.sleep(SILENCE_S + 10)
    assert run.state == "Suspended"
    run.cancel()
    assert run.state == "Cancelled"


STORIES = {
    "gpu process": through_the_deep_stage,
    "dask": through_the_deep_stage,
    "here": from_a_cancelled_and_from_a_failed_state,
    "forgotten": suspended_and_forgotten,
}


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), workers=1) as made:
        yield made


@pytest.fixture(scope="module")
def stories(
    tmp_path_factory: pytest.TempPathFactory, demo_models: Path, dask: Cluster
) -> Iterator[dict[str, Future[None]]]:
    """All stories, as they go on."""
    folder = tmp_path_factory.mktemp("buttons")
    engines: dict[str, dict[str, Any]] = {
        "gpu process": LONG_DEEP_STAGE | {"engine": {"gpu_workers": 1}},
        "dask": LONG_DEEP_STAGE | {"engine": {"runner": "dask", "dask_address": dask.address}},
        "here": {"deep": {"enabled": False}},
        "forgotten": {"deep": {"enabled": False}},
    }
    with prefect_server(folder, free_ports(1)) as server:
        server.deploy(silence_s=SILENCE_S)
        with server.worker("hookline"), ThreadPoolExecutor(len(STORIES)) as pool:
            going_on = {}
            for name, story in STORIES.items():
                place = folder / name.replace(" ", "-")
                (place / "scratch").mkdir(parents=True)
                (place / "videos").mkdir()
                own = engines[name] | {"limits": {"scratch_dir": str(place / "scratch")}}
                settings = quick_settings(place / "videos", place / "output", demo_models, **own)
                chosen = settings.model_dump(mode="json", exclude_unset=True)
                run = RunOnThePage(server, place / "output", place / "scratch", chosen)
                going_on[name] = pool.submit(story, run)
            yield going_on


@pytest.mark.parametrize("name", STORIES)
def test_each_button_ends_the_run_and_nothing_is_done_twice(
    stories: dict[str, Future[None]], name: str
) -> None:
    stories[name].result()
