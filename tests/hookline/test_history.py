"""Old runs are removed with all that the server knows of them, once a day, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

import flows
from deployments.upkeep import remove_history
from hookline import history
from hookline.history import daily
from tests.task_runs import task_runs

pytestmark = pytest.mark.usefixtures("prefect")


@task
def work() -> None:
    create_markdown_artifact("All is well.", key="page")


@flow(name="ours-alone")
def ours() -> None:
    work()


@flow(name="somebody-elses")
def theirs() -> None:
    work()


def test_old_runs_of_every_flow_of_ours_are_removed() -> None:
    names = {
        each.name
        for path in Path(flows.__file__).parent.glob("[!_]*.py")
        for each in vars(import_module(f"flows.{path.stem}")).values()
        if isinstance(each, Flow)
    }
    assert names > {"rank-videos"}
    assert {*history.FLOWS} == {*names, remove_history.name}


def run_of(flow: Flow[[], None]) -> UUID:
    state = flow(return_state=True)
    assert state.state_details.flow_run_id
    return state.state_details.flow_run_id


def left_of(flow_run_id: UUID) -> tuple[bool, int, int]:
    """Whether a run is known, its task runs, and its artifacts."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        try:
            is_known = bool(client.read_flow_run(flow_run_id))
        except ObjectNotFound:
            is_known = False
        return is_known, len(task_runs(flow_run_id)), len(client.read_artifacts(artifact_filter=of_run))


def test_old_runs_are_removed_with_all_of_theirs_and_those_of_other_flows_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "FLOWS", [ours.name])  # other tests have runs on this server, too
    old, another = run_of(ours), run_of(theirs)
    remove_history(keep_days=1)
    assert left_of(old) == left_of(another) == (True, 1, 1)
    monkeypatch.setattr("deployments.upkeep.datetime", Tomorrow)
    remove_history(keep_days=1)
    assert left_of(old) == (False, 0, 0)
    assert left_of(another) == (True, 1, 1)


class Tomorrow(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(UTC) + timedelta(days=1, minutes=1)


def test_a_server_that_runs_for_itself_does_it_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, times = tmp_path / "done", list[float]()

    async def removed(client: object, *, before: datetime) -> int:
        assert timedelta(days=89) < datetime.now(UTC) - before < timedelta(days=91)
        times.append(done.stat().st_mtime)
        return 0

    async def hours() -> None:
        monkeypatch.setattr(history, "FIRST_S", 0)
        monkeypatch.setattr(history, "AGAIN_S", 0.01)
        monkeypatch.setattr(history, "remove_old_runs", removed)
        upkeep = asyncio.create_task(daily(str(PREFECT_API_URL.value()), done))
        await until(lambda: len(times) == 1)
        await asyncio.sleep(0.2)
        assert len(times) == 1
        os.utime(done, (0, time.time() - history.DAY_S - 1))
        await until(lambda: len(times) == 2)
        upkeep.cancel()

    async def until(so: Any) -> None:
        while not so():
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(hours(), 60))
