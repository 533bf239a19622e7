"""Opening videos: a few ahead, tried again where that helps, refused as a value where it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.core.records import Analysis, Failure, FrameBudget, Timeline, VideoRef
from tasks.core.settings import Settings
from tasks.listing import list_videos
from tasks.run.run import Run
from tasks.timelines import closing_video, open_timelines
from tasks.work.opening import close_timeline, open_video, source_of
from tests.media import numbered_video
from tests.s3 import Bucket, Disturbance, Fault

pytest_plugins = ["tests.s3"]


def make_run(source: object, scratch: Path, **groups: Any) -> Run:
    settings = Settings.model_validate({"source": str(source), "output": "unused", **groups})
    nowhere = Checkpoint(Path("/nowhere"), "unused", "")
    budget = FrameBudget(max_pixels=112 * 112, min_pixels=28 * 28, multiple_of=28)
    return Run(
        "run", datetime.now(UTC), settings, scratch, nowhere, None, Analysis.skipped("disabled"), budget
    )


@pytest.fixture(scope="module")
def video_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_video(tmp_path_factory.mktemp("videos") / "video.mp4", seconds=6)


def only_video(run: Run) -> VideoRef:
    (video,) = list_videos.fn(run.settings)
    return video


def test_an_open_video_leaves_only_its_frames_on_scratch(video_file: Path, tmp_path: Path) -> None:
    run = make_run(video_file.parent, tmp_path)
    timeline = open_video(only_video(run), run)
    assert isinstance(timeline, Timeline)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["frames.rgb"]
    close_timeline(timeline)
    assert list(tmp_path.iterdir()) == []


def test_where_clips_are_wanted_the_video_stays_until_it_is_closed(video_file: Path, tmp_path: Path) -> None:
    run = make_run(video_file.parent, tmp_path, publish={"clips": True})
    timeline = open_video(only_video(run), run)
    assert isinstance(timeline, Timeline)
    assert source_of(timeline).read_bytes() == video_file.read_bytes()
    close_timeline(timeline)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clips", [False, True])
def test_a_refused_video_leaves_nothing(tmp_path: Path, clips: bool) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "empty.mp4").touch()
    run = make_run(tmp_path / "videos", tmp_path / "scratch", publish={"clips": clips})
    failure = open_video(only_video(run), run)
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("probe", "empty")
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []


def test_the_longest_key_there_is_is_only_a_key(video_file: Path, bucket: Bucket, tmp_path: Path) -> None:
    key = f"{'long/' * 203}{'x' * 5}.mp4"
    assert len(key) == 1024
    bucket.put(key, video_file.read_bytes())
    run = make_run(bucket.uri, tmp_path)
    timeline = open_video(only_video(run), run)
    assert isinstance(timeline, Timeline)
    assert timeline.video.uri == f"{bucket.uri}/{key}"


def test_a_store_that_drips_costs_one_video_its_deadline(
    video_file: Path, bucket: Bucket, network: Disturbance, tmp_path: Path, prefect: None
) -> None:
    bucket.put("slow.mp4", video_file.read_bytes())
    bucket.put("sound.mp4", video_file.read_bytes())
    run = make_run(bucket.uri, tmp_path, limits={"deadline_seconds": 3})
    videos = list_videos.fn(run.settings)
    network.faults.append(Fault("drip", only="/slow.mp4", times=10**6))

    @flow
    def opened() -> list[Timeline | Failure]:
        return list(open_timelines(videos, run))

    outcome = {each.video.name: each for each in opened()}
    slow, sound = outcome["slow.mp4"], outcome["sound.mp4"]
    assert isinstance(sound, Timeline)
    assert isinstance(slow, Failure)
    assert (slow.stage, slow.kind, slow.reason, slow.attempts) == ("fetch", "failed", "deadline", 1)
    assert "limits.deadline_seconds" in slow.detail


def test_a_video_larger_than_its_share_of_scratch_is_refused_unread(video_file: Path, tmp_path: Path) -> None:
    gigabytes = 2.9 * video_file.stat().st_size / 1e9
    run = make_run(video_file.parent, tmp_path, limits={"scratch_gb": gigabytes}, engine={"workers": 2})
    failure = open_video(only_video(run), run)
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("fetch", "too_large")
    assert "limits.scratch_gb" in failure.detail


def test_frames_that_do_not_fit_their_share_are_refused(video_file: Path, tmp_path: Path) -> None:
    size = video_file.stat().st_size
    run = make_run(
        video_file.parent, tmp_path, limits={"scratch_gb": 2 * (size + 1000) / 1e9}, engine={"workers": 1}
    )
    failure = open_video(only_video(run), run)
    assert isinstance(failure, Failure)
    assert failure.reason == "too_large"


def test_the_decode_deadline_ends_as_a_failure_worth_another_try(video_file: Path, tmp_path: Path) -> None:
    run = make_run(video_file.parent, tmp_path)
    hurried = run.settings.model_copy(
        # Long enough to fetch six seconds of video, and not to start what decodes them.
        update={"limits": run.settings.limits.model_copy(update={"deadline_seconds": 0.15})}
    )
    failure = open_video(only_video(run), replace(run, settings=hurried))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason) == ("failed", "deadline")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_however_it_ends_a_video_frees_its_space(
    video_file: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    run = make_run(video_file.parent, tmp_path)
    timeline = open_video(only_video(run), run)
    assert isinstance(timeline, Timeline)
    with pytest.raises(error), closing_video(timeline, run):
        raise error
    assert list(tmp_path.iterdir()) == []


@flow
def opening(run: Run) -> list[Timeline | Failure]:
    return list(open_timelines(list_videos.fn(run.settings), run))


@pytest.mark.usefixtures("prefect")
def test_all_videos_are_opened_once(video_file: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(5):
        (videos / f"{i}.mp4").write_bytes(video_file.read_bytes())
    opened = opening(make_run(videos, tmp_path / "scratch"))
    assert sorted(item.video.name for item in opened) == [f"{i}.mp4" for i in range(5)]
    assert all(isinstance(item, Timeline) for item in opened)


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_videos_are_open_than_there_are_workers(
    video_file: Path, tmp_path: Path, workers: int
) -> None:
    videos, scratch = tmp_path / "videos", tmp_path / "scratch"
    videos.mkdir()
    for i in range(8):
        (videos / f"{i}.mp4").write_bytes(video_file.read_bytes())
    run = make_run(videos, scratch, engine={"workers": workers})
    most = 0

    @flow
    def watch() -> None:
        nonlocal most
        for opened in open_timelines(list_videos(run.settings), run):
            most = max(most, len(list(scratch.iterdir())))
            assert isinstance(opened, Timeline)
            close_timeline(opened)

    watch()
    assert most <= workers + 1  # the one in hand too


@pytest.mark.usefixtures("prefect")
def test_a_broken_connection_is_tried_again(
    video_file: Path, bucket: Bucket, network: Disturbance, tmp_path: Path
) -> None:
    bucket.put("video.mp4", video_file.read_bytes())
    network.faults = [Fault("reset", only="video.mp4", after_bytes=500, times=1)]
    (timeline,) = opening(make_run(bucket.uri, tmp_path))
    assert isinstance(timeline, Timeline)


@pytest.mark.usefixtures("prefect")
def test_a_store_that_stays_broken_is_a_failure_with_its_attempts(
    video_file: Path, bucket: Bucket, network: Disturbance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.timelines.open_timeline.retry_delay_seconds", [0, 0])
    bucket.put("video.mp4", video_file.read_bytes())
    network.faults = [Fault("reset", only="video.mp4", after_bytes=500, times=10_000)]
    (failure,) = opening(make_run(bucket.uri, tmp_path))
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind, failure.attempts) == ("fetch", "failed", 3)


@pytest.mark.usefixtures("prefect")
def test_an_unforeseen_error_is_that_videos_failure_alone(
    video_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.timelines.open_timeline.retry_delay_seconds", [0, 0])
    not_a_folder = tmp_path / "scratch"
    not_a_folder.touch()
    (failure,) = opening(make_run(video_file.parent, not_a_folder))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason, failure.attempts) == ("failed", "unexpected", 3)
    assert "scratch" in failure.detail
