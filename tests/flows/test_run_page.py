"""What a run leaves on its page in the Prefect UI, read back from a real server."""

from __future__ import annotations

import base64
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from xml.etree import ElementTree

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.rank_videos import rank_videos
from tasks import show
from tasks.core.amounts import number_of
from tasks.core.records import VideoRef
from tasks.run.logs import log_line
from tasks.run.progress import current_progress
from tasks.run.progress_artifact import ArtifactProgress, progress_on_the_page
from tests.library import quick_settings, read_table
from tests.media import numbered_video
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("prefect")


def artifacts_of(flow_run_id: UUID | None) -> dict[str | None, Artifact]:
    assert flow_run_id
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    assert len(found) == len({artifact.key for artifact in found})
    return {artifact.key: artifact for artifact in found}


def test_a_run_is_told_by_its_page_and_its_log(
    demo_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    numbered_video(tmp_path / "plain.mp4", seconds=9).rename(videos / "a|<b>\nrun=forged.mp4")
    (videos / "empty.mp4").touch()
    shutil.copy(videos / "a|<b>\nrun=forged.mp4", videos / "copy.mp4")
    with caplog.at_level(logging.INFO):
        settings = quick_settings(videos, tmp_path / "out", demo_models, ranking={"top_n": 3})
        state = rank_videos(settings, return_state=True)
    assert state.name == "CompletedWithFailures"
    page = artifacts_of(state.state_details.flow_run_id)
    assert set(page) == {"progress", "ranking", "failures", "summary", "timelines"}
    ranking = json.loads(str(page["ranking"].data))
    rows = read_table(tmp_path / "out", "rankings", state.result()["run_id"]).to_pylist()
    assert [row["#"] for row in ranking] == [
        row["run_rank"] for row in rows if row["best_of_moment"] and not row["duplicate_of"]
    ]
    folded = len(rows) - len(ranking)
    assert folded > 0
    shown, same = f"The ranking: {number_of(len(ranking), 'row')}", "Segments that show the same, left out"
    assert page["ranking"].description == f"{shown}. {same}: {folded}"
    assert {row["video"] for row in ranking} == {r"a\|\<b\>\\nrun=forged.mp4"}
    (failure,) = json.loads(str(page["failures"].data))
    assert (failure["video"], failure["reason"]) == ("empty.mp4", "empty")
    assert "| probe | rejected | empty | 1 |" in str(page["summary"].data)
    (on,) = state.result()["devices"]
    assert (on["kind"], on["driver"]) == ("cpu", None)  # and `device_record` is tested by itself
    assert re.search(rf"^\| models on \| .*{on['dtype']}", str(page["summary"].data), flags=re.MULTILINE)
    assert "| videos | 3 of 3 |" in str(page["progress"].data)
    picture = str(page["timelines"].data).split("base64,")[1].split(")")[0]
    assert ElementTree.fromstring(base64.b64decode(picture)).tag.endswith("svg")
    run_id = state.result()["run_id"]
    lines = [record.getMessage() for record in caplog.records if "stage=" in record.getMessage()]
    assert all(line.startswith(f"run={run_id} stage=") and "\n" not in line for line in lines)
    story = [line.split("stage=")[1].split()[0] for line in lines if "forged" in line]
    assert story == ["decode", "fast", "deep", "rank"]
    assert sum("empty.mp4" in line for line in lines) == 1
    for model in ("VideoMAE", "VideoLLaMA3"):
        assert any(re.search(f"loading {model}: done seconds=", line) for line in lines)
    (loaded,) = (line for line in lines if "model loaded" in line)
    assert all(f'{fact}="{on[fact]}"' in loaded for fact in ("kind", "name", "dtype"))


def test_what_cannot_be_shown_fails_no_run(
    demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ConnectionError("no server")

    videos = tmp_path / "videos"
    videos.mkdir()
    numbered_video(videos / "a.mp4", seconds=6)
    monkeypatch.setattr(show, "create_table_artifact", broken)
    settings = quick_settings(videos, tmp_path / "out", demo_models, deep={"enabled": False})
    state = rank_videos(settings, return_state=True)
    assert state.name == "Completed"
    assert set(artifacts_of(state.state_details.flow_run_id)) == {"progress", "summary", "timelines"}


def test_progress_is_one_artifact_that_grows_while_the_run_goes_on() -> None:
    seen: list[Artifact] = []

    @flow
    def counting() -> None:
        from prefect.runtime import flow_run

        with progress_on_the_page(period_s=0.1):
            current_progress.get().expect("videos", 2)
            current_progress.get().advance("videos")
            seen.extend(wait_for(lambda: artifacts_of(UUID(flow_run.id)), 30).values())
            current_progress.get().advance("videos")

    state = counting(return_state=True)
    assert "| videos | 1 of 2 |" in str(seen[0].data)
    (after,) = artifacts_of(state.state_details.flow_run_id).values()
    assert "| videos | 2 of 2 |" in str(after.data)


def test_who_watches_already_is_left_alone() -> None:
    class Counter:
        def expect(self, what: str, count: int) -> None: ...

        def advance(self, what: str, count: int = 1, *, name: str = "") -> None: ...

        def begin(self, step: str) -> None: ...

        def end(self, step: str) -> None: ...

    @flow
    def watched() -> None:
        mine = Counter()
        token = current_progress.set(mine)
        with progress_on_the_page(period_s=0.01):
            assert current_progress.get() is mine
        current_progress.reset(token)

    assert artifacts_of(watched(return_state=True).state_details.flow_run_id) == {}


def test_a_name_cannot_forge_a_line() -> None:
    video = VideoRef('s3://b/a" stage=fake\nrun=other\x1b[2K.mp4', "", 0)
    line = log_line("r1", "deep", "no\nrun=2", video=video, reason="x\r", seconds=1.26, cached=0, best=None)
    assert line == (
        r'run=r1 stage=deep video="s3://b/a\" stage=fake\nrun=other\x1b[2K.mp4" no\nrun=2 '
        r'reason="x\r" seconds=1.3 cached=0'
    )


def test_progress_goes_to_the_server_of_the_run_and_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def client(**_: Any) -> None:
        asked.append(PREFECT_API_URL.value())
        raise OSError("nobody there")

    monkeypatch.setattr("tasks.run.progress_artifact.get_client", client)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        shown = ArtifactProgress(uuid4(), period_s=60)
        shown.expect("videos", 1)
        shown.finish()
    assert asked == ["http://127.0.0.1:1/api"]
