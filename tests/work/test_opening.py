"""An opened video leaves only its frames on scratch; one that cannot be used is refused as a value."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.records import Failure, Timeline, VideoRef
from tasks.core.speech.heard import Heard
from tasks.work.opening import close_timeline, open_video, source_of
from tasks.work.spec import RunSpec
from tests.adapters.video.test_timeline import slow_video
from tests.media import numbered_video
from tests.s3 import Bucket
from tests.spec import make_spec

pytest_plugins = ["tests.s3"]


@pytest.fixture(scope="module")
def video_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_video(tmp_path_factory.mktemp("videos") / "video.mp4", seconds=6)


def only_video(spec: RunSpec) -> VideoRef:
    (video,) = spec.source.videos("**")
    return video


def test_an_open_video_leaves_only_its_frames_on_scratch(video_file: Path, tmp_path: Path) -> None:
    spec = make_spec(video_file.parent)
    timeline = open_video(only_video(spec), spec, tmp_path)
    assert isinstance(timeline, Timeline)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["frames.rgb"]
    close_timeline(timeline)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("listens", [True, False])
def test_the_sound_lies_beside_the_frames_if_it_is_wanted(listens: bool, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    numbered_video(tmp_path / "in" / "v.mp4", seconds=6, sound_seconds=6)
    least = {"memory_gb": 1}
    spec = make_spec(tmp_path / "in", speech={"enabled": listens}, limits=least)
    timeline = open_video(only_video(spec), spec, tmp_path / "scratch")
    assert isinstance(timeline, Timeline)
    left = sorted(path.name for path in Path(timeline.path).parent.rglob("*") if path.is_file())
    assert left == ["frames.rgb", *(["sound.s16"] if listens else [])]
    if listens:
        assert timeline.heard == Heard.of([], end_ms=6000)
        assert timeline.loudness is not None
        assert timeline.loudness[-1] > -30
        assert len(timeline.loudness) == 60
    else:
        assert timeline.heard is timeline.loudness is None
    close_timeline(timeline)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_where_clips_are_wanted_the_video_stays_until_it_is_closed(video_file: Path, tmp_path: Path) -> None:
    spec = make_spec(video_file.parent, publish={"clips": True})
    timeline = open_video(only_video(spec), spec, tmp_path)
    assert isinstance(timeline, Timeline)
    assert source_of(timeline).read_bytes() == video_file.read_bytes()
    close_timeline(timeline)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clips", [False, True])
def test_a_refused_video_leaves_nothing(tmp_path: Path, clips: bool) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "empty.mp4").touch()
    spec = make_spec(tmp_path / "videos", publish={"clips": clips})
    failure = open_video(only_video(spec), spec, tmp_path / "scratch")
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("probe", "empty")
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []


def test_the_longest_key_there_is_is_only_a_key(video_file: Path, bucket: Bucket, tmp_path: Path) -> None:
    key = f"{'long/' * 203}{'x' * 5}.mp4"
    assert len(key) == 1024
    bucket.put(key, video_file.read_bytes())
    spec = make_spec(bucket.uri)
    timeline = open_video(only_video(spec), spec, tmp_path)
    assert isinstance(timeline, Timeline)
    assert timeline.video.uri == f"{bucket.uri}/{key}"


def test_a_video_larger_than_its_share_of_scratch_is_refused_unread(video_file: Path, tmp_path: Path) -> None:
    gigabytes = 2.9 * video_file.stat().st_size / 1e9
    spec = make_spec(video_file.parent, limits={"scratch_gb": gigabytes}, engine={"workers": 2})
    failure = open_video(only_video(spec), spec, tmp_path)
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("fetch", "too_large")
    assert re.fullmatch(
        r"The file has [\d.]+ kB, more than the [\d.]+ kB that each video may take of limits.scratch_gb.*",
        failure.detail,
    )


def test_frames_that_do_not_fit_their_share_are_refused(video_file: Path, tmp_path: Path) -> None:
    size = video_file.stat().st_size
    spec = make_spec(video_file.parent, limits={"scratch_gb": 2 * (size + 1000) / 1e9}, engine={"workers": 1})
    failure = open_video(only_video(spec), spec, tmp_path)
    assert isinstance(failure, Failure)
    assert failure.reason == "too_large"


def test_the_decode_deadline_ends_as_a_failure_worth_another_try(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    slow_video(tmp_path / "slow.avi").rename(videos / "slow.avi")
    spec = make_spec(videos)
    # Long enough to fetch five minutes of video, and not to decode them.
    limits = spec.settings.limits.model_copy(update={"deadline_seconds": 1})
    hurried = replace(spec, settings=spec.settings.model_copy(update={"limits": limits}))
    failure = open_video(only_video(spec), hurried, tmp_path)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason) == ("failed", "deadline")


def test_a_joined_recording_whose_first_part_is_too_short_says_so(tmp_path: Path) -> None:
    part = numbered_video(tmp_path / "part.mp4", seconds=1).read_bytes()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v.mp4").write_bytes(part * 20)
    spec = make_spec(tmp_path / "videos", windows={"min_window_seconds": 5})
    failure = open_video(only_video(spec), spec, tmp_path / "scratch")
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason) == ("rejected", "joined")
    assert f"{19 * len(part):,} bytes" in failure.detail
