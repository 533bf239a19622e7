"""Task runs grow with the work of a run, and not with the number of its videos."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from flows.rank_videos import rank_videos
from tasks.core.settings import Settings
from tests.library import quick_settings, read_table
from tests.media import numbered_video
from tests.task_runs import task_runs

PAGES, SHORT, WORKERS, TOGETHER = 16, 3, 2, 5


@pytest.fixture
def settings(demo_models: Path, tmp_path: Path) -> Settings:
    """A night of a minute and more of video, a few seconds each of others, and many files that are none."""
    videos = tmp_path / "videos"
    videos.mkdir()
    numbered_video(videos / "long.mp4", seconds=62, fps="2")
    short = numbered_video(videos / "short-0.mp4", seconds=5, fps="2")
    for number in range(1, SHORT):
        shutil.copy(short, videos / f"short-{number}.mp4")
    for number in range(PAGES):
        (videos / f"page-{number:02}.mp4").write_text("<!DOCTYPE html>" * 50)
    windows = {"stride_seconds": 20}
    engine = {"workers": WORKERS}
    return quick_settings(
        *(videos, tmp_path / "output", demo_models), deep={"enabled": False}, windows=windows, engine=engine
    )


@pytest.mark.usefixtures("prefect")
def test_short_videos_share_task_runs_and_each_has_its_name(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.open.TASK_VIDEOS", TOGETHER)
    state = rank_videos(settings, return_state=True)
    manifest = state.result()
    assert manifest["counts"]["ranked"] == 1 + SHORT
    failures = read_table(Path(settings.output), "failures", manifest["run_id"])["video_uri"].to_pylist()
    names = [uri.rpartition("/")[2] for uri in failures]
    assert sorted(names) == [f"page-{number:02}.mp4" for number in range(PAGES)]
    for video in ["long.mp4", *(f"short-{number}.mp4" for number in range(SHORT))]:
        lines = [line for line in caplog.messages if f"/{video}" in line]
        for did in ("opened", "scored", "ranked"):
            assert sum(f" {did} " in line for line in lines) == 1, (video, did)

    kinds = Counter(name.split()[0] for name in task_runs(state.state_details.flow_run_id))
    assert kinds.pop("open") <= (PAGES + SHORT + 1) / TOGETHER + WORKERS + 1
    assert kinds == {
        "list": 1,
        "read": 1,
        "load": 2,
        "score": 1,
        "analyse": 1,
        "render": 1,
        "find": 1,
        "publish": 1,
    }
