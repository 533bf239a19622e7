"""Opening videos: a few ahead, tried again where that helps, refused as a value where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import flow

import tasks.open
from tasks.adapters.workers.processes import InProcess
from tasks.core.errors import HooklineError
from tasks.core.records import Failure, Timeline
from tasks.list import list_videos
from tasks.open import closing_video, open_timelines
from tasks.run.retries import retried
from tasks.run.run import Run
from tasks.work.opening import close_timeline, open_video
from tests.media import numbered_video
from tests.s3 import Bucket, Disturbance, Fault
from tests.spec import make_spec

pytest_plugins = ["tests.s3"]


@pytest.fixture(scope="module")
def video_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_video(tmp_path_factory.mktemp("videos") / "video.mp4", seconds=6)


def test_a_store_that_drips_costs_one_video_its_deadline(
    video_file: Path, bucket: Bucket, network: Disturbance, tmp_path: Path, prefect: None
) -> None:
    bucket.put("slow.mp4", video_file.read_bytes())
    bucket.put("sound.mp4", video_file.read_bytes())
    run = Run(make_spec(bucket.uri, tmp_path / "out", limits={"deadline_seconds": 3}), tmp_path)
    videos = list_videos.fn(run.spec.settings).videos
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


class Demand(InProcess):
    """This process, and what it is told of videos that wait."""

    def __init__(self) -> None:
        self.told = list[int]()

    def expect(self, videos: int) -> None:
        self.told.append(videos)


def test_workers_are_told_how_many_videos_wait(video_file: Path, tmp_path: Path, prefect: None) -> None:
    """The first two are opened at once."""
    (tmp_path / "videos").mkdir()
    for name in "abcd":
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(video_file.read_bytes())
    run = Run(make_spec(tmp_path / "videos", tmp_path / "out"), tmp_path, workers := Demand())

    @flow
    def opened() -> int:
        return sum(
            isinstance(each, Timeline)
            for each in open_timelines(list_videos.fn(run.spec.settings).videos, run)
        )

    assert opened() == 4
    assert (workers.told[0], workers.told[-1]) == (2, 0)
    assert workers.told == sorted(workers.told, reverse=True)


@pytest.mark.logs_error
def test_a_task_run_that_cannot_begin_ends_the_run(
    video_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect: None
) -> None:
    """It hands over nothing: who waits for its video would wait for ever."""

    @retried("open videos", pauses_s=())
    def refused(*_: object) -> None:
        raise RuntimeError("Prefect has no room")

    monkeypatch.setattr(tasks.open, "open_some", refused)
    run = Run(make_spec(video_file.parent, tmp_path / "out"), tmp_path)

    @flow
    def opened() -> list[Timeline | Failure]:
        return list(open_timelines(list_videos.fn(run.spec.settings).videos, run))

    with pytest.raises(HooklineError, match="Prefect has no room"):
        opened()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_however_it_ends_a_video_frees_its_space(
    video_file: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    run = Run(make_spec(video_file.parent), tmp_path)
    (video,) = list_videos.fn(run.spec.settings).videos
    timeline = open_video(video, run.spec, run.scratch)
    assert isinstance(timeline, Timeline)
    with pytest.raises(error), closing_video(timeline, run):
        raise error
    assert list(tmp_path.iterdir()) == []


@flow
def opening(run: Run) -> list[Timeline | Failure]:
    return list(open_timelines(list_videos.fn(run.spec.settings).videos, run))


@pytest.mark.usefixtures("prefect")
def test_all_videos_are_opened_once(video_file: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(5):
        (videos / f"{i}.mp4").write_bytes(video_file.read_bytes())
    opened = opening(Run(make_spec(videos, tmp_path / "out"), tmp_path / "scratch"))
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
    run = Run(make_spec(videos, tmp_path / "out", engine={"workers": workers}), scratch)
    most = 0

    @flow
    def watch() -> None:
        nonlocal most
        for opened in open_timelines(list_videos(run.spec.settings).videos, run):
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
    (timeline,) = opening(Run(make_spec(bucket.uri, tmp_path / "out"), tmp_path))
    assert isinstance(timeline, Timeline)


@pytest.mark.usefixtures("prefect")
def test_a_store_that_stays_broken_is_a_failure_with_its_attempts(
    video_file: Path, bucket: Bucket, network: Disturbance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.open.open_timeline.retry_delay_seconds", [0, 0])
    bucket.put("video.mp4", video_file.read_bytes())
    network.faults = [Fault("reset", only="video.mp4", after_bytes=500, times=10_000)]
    (failure,) = opening(Run(make_spec(bucket.uri, tmp_path / "out"), tmp_path))
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind, failure.attempts) == ("fetch", "failed", 3)


@pytest.mark.usefixtures("prefect")
def test_an_unforeseen_error_is_that_videos_failure_alone(
    video_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.open.open_timeline.retry_delay_seconds", [0, 0])
    not_a_folder = tmp_path / "scratch"
    not_a_folder.touch()
    (failure,) = opening(Run(make_spec(video_file.parent, tmp_path / "out"), not_a_folder))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason, failure.attempts) == ("failed", "unexpected", 3)
    assert "scratch" in failure.detail
