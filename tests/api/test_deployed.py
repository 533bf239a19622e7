"""Two services that share the jobs of one deployment, whose runs are processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from hookline.api.contract.problems import Problem
from hookline.api.contract.settings import Serve
from hookline.api.jobs import deployed_jobs
from hookline.api.jobs.job import Job, Status
from hookline.api.service.models import Ask
from hookline.api.service.service import Service
from tasks.core.errors import SettingsError
from tasks.core.settings import Settings
from tests import ROOT
from tests.cluster import runs
from tests.waiting import patience, wait_for

pytestmark = pytest.mark.integration

SERVED = "from flows.rank_videos import rank_videos; rank_videos.serve('service', pause_on_shutdown=False)"

Services = tuple[Service, Service]


@pytest.fixture(scope="module")
def worker(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """Runs what the deployment `service` is asked for, each run in a process."""
    from prefect.settings import PREFECT_API_URL

    own = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    log = tmp_path_factory.mktemp("worker") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVED], cwd=ROOT, env=os.environ | own, stdout=out, stderr=out
        )
    try:
        wait_for(lambda: "being served" in log.read_text(), 120, or_say=log.read_text)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def services(worker: psutil.Process, settings: Settings, videos: Path) -> Iterator[Services]:
    from prefect.settings import PREFECT_API_URL

    from hookline.api.assembly import assembled

    with ExitStack() as stack:
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(deployed_jobs, "SETTLED_S", 1.0)  # this worker reports a death but once
        made = []
        for name in ("one", "other"):
            serve = Serve(
                state_dir=str(videos.parent / name), deployment="rank-videos/service", shutdown_seconds=1
            )
            serve.state.mkdir()
            made.append(stack.enter_context(assembled(settings, serve, api_url=str(PREFECT_API_URL.value()))))
        yield made[0], made[1]


def submitted(service: Service, video: Path, *, key: str | None = None, **more: Any) -> tuple[Job, bool]:
    ask = Ask(video_path=str(video), **more)
    return service.submit(ask, key=key, request_id=os.urandom(4).hex(), caller="me")


def flow_processes(worker: psutil.Process) -> list[psutil.Process]:
    return [each for each in worker.children(recursive=True) if runs(each, "spawn_main")]


def test_services_share_jobs_keys_and_answers_and_a_job_outlives_its_process(
    services: Services, worker: psutil.Process, videos: Path
) -> None:
    one, other = services
    job, joined = submitted(one, videos / "first.mp4", key="k", top_n=1)
    assert (joined, job.status) == (False, Status.QUEUED)
    for key in (None, "k", "another"):
        again, joined = submitted(other, videos / "first.mp4", key=key, top_n=1)
        assert (again.id, joined) == (job.id, True)
    with pytest.raises(Problem, match="used with another request"):
        submitted(other, videos / "first.mp4", key="k", top_n=2)
    assert [each.id for each in other.jobs.list(video_path=str(videos / "first.mp4"))] == [job.id]
    assert [each.id for each in one.jobs.list()] == [job.id]
    assert one.job("nobody") is one.job("00000000-0000-0000-0000-000000000000") is None

    wait_for(lambda: job.status == Status.RUNNING, 120)
    (process,) = flow_processes(worker)
    process.kill()
    wait_for(lambda: job.status == Status.QUEUED)
    watched = other.job(job.id)
    assert watched
    seen = [0]
    while not watched.done.done():
        seen.append(watched.progress.view().percent)
        time.sleep(0.2)
    job.done.result(patience(60))
    assert seen == sorted(seen)
    answers = [service.answer(each, video_path="v") for service, each in ((one, job), (other, watched))]
    assert answers[0] == answers[1]
    assert len(answers[0]["top_segments"]) == 1
    assert one.jobs.tally()


def test_a_job_is_canceled_by_another_service(
    services: Services, worker: psutil.Process, videos: Path
) -> None:
    one, other = services
    ask: dict[str, Any] = {"top_n": 100, "stride_seconds": 1}
    job, _ = submitted(one, videos / "long.mp4", key="long", **ask)
    waiting, _ = submitted(one, videos / "long.mp4", top_n=99, stride_seconds=1)
    other.jobs.cancel(waiting)
    assert waiting.status == Status.CANCELED  # before a process was started for it
    wait_for(lambda: job.status == Status.RUNNING, 120)
    there = other.job(job.id)
    assert there
    other.jobs.cancel(there)
    assert there.is_canceling
    job.done.result(patience(60))
    assert job.status == Status.CANCELED
    wait_for(lambda: not flow_processes(worker))
    again, _ = submitted(other, videos / "long.mp4", key="long", **ask)
    assert (again.id, again.status) == (job.id, Status.CANCELED)
    fresh, joined = submitted(other, videos / "long.mp4", **ask)
    assert (fresh.id == job.id, joined) == (False, False)
    one.jobs.cancel(fresh)
    wait_for(lambda: fresh.status == Status.CANCELED)


def test_a_run_that_was_deleted_or_is_of_another_version_stands_in_nobodys_way(
    services: Services, videos: Path
) -> None:
    one, _ = services
    runs = one.jobs._runs
    job, _ = submitted(one, videos / "first.mp4", top_n=3)
    runs.call("DELETE", f"/flow_runs/{job.id}")
    job.done.result(patience(60))
    assert job.status == Status.CANCELED
    again, joined = submitted(one, videos / "first.mp4", top_n=3)
    assert (again.id != job.id, joined) == (True, False)
    recorded = runs.read(again.id)
    foreign = runs.create(
        {"settings": {"setting_of_tomorrow": 1}}, recorded["labels"], key="tomorrow", tags=recorded["tags"]
    )
    assert one.job(foreign["id"]) is None
    assert foreign["id"] not in [each.id for each in one.jobs.list()]
    for run_id in (foreign["id"], again.id):
        runs.call("DELETE", f"/flow_runs/{run_id}")
    again.done.result(patience(60))


def test_a_deployment_that_is_not_there_is_named(prefect: None, settings: Settings, tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    from hookline.api.assembly import assembled

    serve = Serve(state_dir=str(tmp_path), deployment="rank-videos/none")
    with (
        pytest.raises(SettingsError, match="there is no deployment rank-videos/none"),
        assembled(settings, serve, api_url=str(PREFECT_API_URL.value())),
    ):
        pass
