"""Report, pictures and clips of whole runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, Mock

import av
import pytest
from PIL import Image

from flows.rank_videos import rank_videos
from tasks.adapters.storage import open_store
from tasks.adapters.video.clips.cutting import cut_clip
from tasks.adapters.video.pictures import jpeg
from tasks.core.errors import DecodeFailed, WorkerLost
from tests.library import quick_settings, read_table
from tests.media import numbered_video

pytestmark = pytest.mark.usefixtures("prefect")

CLIPS = {"clips": True, "crop": "1:1", "clips_of": "all", "timeline": "edl"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    numbered_video(folder / "first.mp4", seconds=14, sound_seconds=14)
    numbered_video(folder / "second.mkv", seconds=9)
    return folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


Night = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def night(videos: Path, demo_models: Path, scratch: Path) -> Night:
    """Runs over the videos; gives the manifest and the rows of the ranking."""

    def run(output: Path, **groups: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        limits = {"limits": {"scratch_dir": str(scratch)}, "deep": {"enabled": False}}
        state = rank_videos(
            quick_settings(videos, output, demo_models, **limits, **groups), return_state=True
        )
        manifest = state.result(raise_on_failure=False)
        return manifest, read_table(output, "rankings", manifest["run_id"]).to_pylist()

    return run


@pytest.fixture(scope="module")
def with_clips(
    night: Night, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    output = tmp_path_factory.mktemp("nights") / "output"
    return output, *night(output, publish=CLIPS)


WithClips = tuple[Path, dict[str, Any], list[dict[str, Any]]]


def test_every_row_names_a_picture_and_a_clip_that_are_there(with_clips: WithClips, scratch: Path) -> None:
    output, manifest, rows = with_clips
    assert manifest["state"] == "Completed"
    for row in rows:
        with Image.open(output / row["thumbnail_uri"]) as picture:
            assert picture.format == "JPEG"
        clip = output / row["clip_uri"]
        assert clip.name.startswith(f"{row['rank']:04}_")
        assert clip.with_suffix(".jpg").is_file()
        timeline = output / row["timeline_uri"]
        assert (timeline.parent, timeline.suffix) == (clip.parent, ".edl")
        assert f"#{row['rank']} score {row['score']}: " in timeline.read_text() or not row["best_of_moment"]
        with av.open(str(clip)) as container:
            video = container.streams.video[0]
            assert video.width == video.height == 96
            assert video.frames / 25 == pytest.approx(row["clip_end"] - row["clip_start"], abs=1 / 25)
            assert len(container.streams.audio) == row["video_uri"].endswith("first.mp4")
        assert row["cut_start"] <= row["clip_start"] <= row["cut_start"] + 0.5
        assert row["cut_end"] - 0.5 <= row["clip_end"] <= row["cut_end"]
    assert [path for path in scratch.rglob("*") if path.is_file() and path.name != "lock"] == []


def test_the_report_of_a_run_shows_its_clips_and_pictures(with_clips: WithClips) -> None:
    output, manifest, rows = with_clips
    assert manifest["report"] == f"file://{output}/reports/{manifest['run_id']}/index.html"
    html = (output / "reports" / manifest["run_id"] / "index.html").read_text()
    assert html.count("<img") == html.count('class="play"') == len(rows) == 4
    assert all(f'class="play" href="../../{row["clip_uri"]}"' in html for row in rows)


@pytest.mark.parametrize("source", [".", "..", "clips"])
def test_what_a_run_wrote_is_no_video_of_the_next(with_clips: WithClips, source: str) -> None:
    output = with_clips[0]
    store = open_store(str((output / source).resolve()))
    listing = store.listing("**", output=open_store(str(output)).uri)
    found = [video.uri for video in listing.videos if video.uri.startswith(f"file://{output}/")]
    assert (found, listing.left_out.own > 0) == ([], True)


def test_what_is_not_wanted_is_not_made(night: Night, tmp_path: Path) -> None:
    manifest, rows = night(tmp_path, publish={"report": False, "thumbnails": False})
    assert {(row["thumbnail_uri"], row["clip_uri"]) for row in rows} == {(None, None)}
    assert manifest["report"] is None
    assert not {"reports", "clips", "thumbnails"} & {path.name for path in tmp_path.iterdir()}


def test_unchanged_videos_keep_what_an_earlier_run_made_and_get_no_clips(
    night: Night, with_clips: WithClips, tmp_path: Path
) -> None:
    output, first, rows = with_clips
    second, carried = night(output, publish=CLIPS)
    assert second["counts"]["unchanged"] == 2
    assert [row["clip_uri"] for row in carried] == [row["clip_uri"] for row in rows]
    assert [row["thumbnail_uri"] for row in carried] == [row["thumbnail_uri"] for row in rows]
    assert [row["timeline_uri"] for row in carried] == [row["timeline_uri"] for row in rows]
    html = (output / "reports" / second["run_id"] / "index.html").read_text()
    assert f"../{first['run_id']}/index.html#" in html
    assert not (output / "clips" / second["run_id"]).exists()


def test_a_video_ranked_anew_by_other_weights_keeps_its_pictures(night: Night, tmp_path: Path) -> None:
    night(tmp_path)
    second, rows = night(tmp_path, ranking={"top_n": 1})
    assert (second["counts"]["ranked"], second["counts"]["unchanged"]) == (0, 2)
    assert all((tmp_path / row["thumbnail_uri"]).is_file() for row in rows)


def test_a_clip_that_fails_is_a_failure_and_the_ranking_goes_on(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def cut_all_but_the_first(source: Path, folder: Path, cut: Any, **how: Any) -> Any:
        if cut.start_s == 0:
            raise DecodeFailed("The disk is on fire.", reason="clip_failed")
        return cut_clip(source, folder, cut, **how)

    monkeypatch.setattr("tasks.work.clips.cut_clip", cut_all_but_the_first)
    manifest, rows = night(tmp_path, publish=CLIPS, ranking={"top_n": 6})
    assert manifest["state"] == "CompletedWithFailures"
    assert all((row["clip_uri"] is None) == (row["start"] == 0) for row in rows)
    failures = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    assert [(row["stage"], row["kind"], row["reason"], row["start"]) for row in failures] == [
        ("publish", "failed", "clip_failed", 0.0)
    ] * sum(row["start"] == 0 for row in rows)
    assert failures
    clips = sum(row["video_uri"].endswith("/first.mp4") for row in rows)
    assert clips > 1
    assert f"cutting {clips} clips of first.mp4: done seconds=" in caplog.text


def test_a_moment_has_one_clip_that_of_its_best_segment(night: Night, tmp_path: Path) -> None:
    _, rows = night(tmp_path, publish={"clips": True, "thumbnails": False}, ranking={"top_n": 6})
    best = [row["best_of_moment"] for row in rows]
    assert 0 < sum(best) < len(best)
    assert [row["clip_uri"] is not None for row in rows] == best
    for row in rows:
        same = [
            each for each in rows if (each["video_uri"], each["moment"]) == (row["video_uri"], row["moment"])
        ]
        assert row["best_of_moment"] is (row["rank"] == min(each["rank"] for each in same))


def test_pictures_that_cannot_be_written_do_not_cost_the_ranking(night: Night, tmp_path: Path) -> None:
    (tmp_path / "thumbnails").touch()  # a file where the folder should be
    manifest, rows = night(tmp_path)
    assert (manifest["state"], len(rows)) == ("CompletedWithFailures", 4)
    failures = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    assert [row["stage"] for row in failures] == ["publish", "publish"]
    assert {row["thumbnail_uri"] for row in rows} == {None}


def test_pictures_are_made_again_where_a_worker_is_lost_over_them(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Mock(side_effect=[WorkerLost("The Dask worker died with this work."), *[DEFAULT] * 99], wraps=jpeg)
    monkeypatch.setattr("tasks.work.media.jpeg", lost)
    monkeypatch.setattr("tasks.render.render_segments.retry_delay_seconds", [0, 0])
    manifest, rows = night(tmp_path)
    assert (manifest["state"], manifest["counts"]["failed"]) == ("Completed", 0)
    assert all((tmp_path / row["thumbnail_uri"]).is_file() for row in rows)
