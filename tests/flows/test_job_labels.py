"""A job that a deployment runs says on the server what came of it: the service reads it there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL

from flows.rank_videos import rank_videos
from hookline.api.jobs.prefect_runs import PrefectRuns
from tasks import show
from tests.library import quick_settings
from tests.media import numbered_video

pytestmark = pytest.mark.usefixtures("prefect")


def labels_after(settings: dict[str, Any], **labels: str) -> dict[str, Any]:
    runs = PrefectRuns(str(PREFECT_API_URL.value()), flow="of-nobody")
    try:
        made = runs.create({"settings": settings}, labels, key=str(settings))
        run = runs.claim(made["id"])
        assert run
        run_flow(rank_videos, flow_run=run, return_type="state")
        found = runs.read(made["id"])["labels"]
    finally:
        runs.close()
    return {name: value for name, value in found.items() if name.startswith("hookline.")}


@pytest.mark.logs_error
def test_a_job_is_told_by_its_labels(demo_models: Path, tmp_path: Path) -> None:
    video = numbered_video(tmp_path / "first.mp4", seconds=9)
    (tmp_path / "empty.mp4").touch()
    night, jobs = tmp_path / "out", tmp_path / "out" / "jobs"
    assert rank_videos(quick_settings(tmp_path, night, demo_models), return_state=True).is_completed()
    asked = {"hookline.content": "c", "hookline.library": str(night)}

    ranked = labels_after(quick_settings(video, jobs, demo_models).model_dump(mode="json"), **asked)
    (manifest,) = jobs.glob("runs/*.json")
    assert ranked == {**asked, "hookline.run_id": manifest.stem, "hookline.whole": "yes"}
    assert '"unchanged": 1' in manifest.read_text()  # taken from the library that the label names

    settings = quick_settings(tmp_path / "empty.mp4", jobs, demo_models).model_dump(mode="json")
    refused = labels_after(settings, **asked)
    assert (refused["hookline.reason"], refused["hookline.kind"]) == ("empty", "rejected")
    assert refused["hookline.run_id"]

    gone = {**settings, "source": str(tmp_path / "gone.mp4")}
    lost = labels_after(gone, **asked)
    assert (lost["hookline.reason"], lost["hookline.kind"]) == ("not_found", "failed")
    assert "gone.mp4" in lost["hookline.detail"]

    assert labels_after({**gone, "source": str(tmp_path / "gone-too.mp4")}) == {}  # a run that is no job


@pytest.mark.logs_error
def test_a_result_that_the_server_does_not_take_at_once_is_told_later_and_is_never_lost_in_silence(
    demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, take = numbered_video(tmp_path / "first.mp4", seconds=9), SyncPrefectClient.update_flow_run_labels
    refusals = iter(range(1))

    def refuse(client: SyncPrefectClient, run_id: UUID, about: dict[str, Any]) -> None:
        if "hookline.run_id" in about and next(refusals, None) is not None:
            raise ConnectionResetError("reset")
        take(client, run_id, about)

    monkeypatch.setattr(SyncPrefectClient, "update_flow_run_labels", refuse)
    monkeypatch.setattr(show, "note_on_the_run", show.note_on_the_run.with_options(retry_delay_seconds=0))
    settings = quick_settings(video, tmp_path / "jobs", demo_models, deep={"enabled": False})
    asked = {"hookline.content": "c"}

    told = labels_after(settings.model_dump(mode="json"), **asked)
    (manifest,) = (tmp_path / "jobs").glob("runs/*.json")
    assert (told["hookline.run_id"], told.get("hookline.reason")) == (manifest.stem, None)

    refusals = iter(range(99))
    again = settings.model_copy(update={"output": str(tmp_path / "again")})
    lost = labels_after(again.model_dump(mode="json"), **asked)
    (manifest,) = (tmp_path / "again").glob("runs/*.json")
    assert lost["hookline.reason"] == "unavailable"
    assert f"as run {manifest.stem}, but the Prefect server could not be told" in lost["hookline.detail"]
