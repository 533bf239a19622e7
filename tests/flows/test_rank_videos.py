"""The main job on a folder: what goes in is ranked or refused with a reason, exactly once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from prefect.client.schemas.objects import State
from safetensors.numpy import save_file

from flows.rank_videos import rank_videos
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.adapters.models.videomae import VideoMAE
from tasks.core.errors import ModelError
from tasks.core.records import ReadFrames, Window
from tasks.work.models import find_backend
from tests.library import (
    BROKEN,
    quick_settings,
    read_table,
    rows_without,
    write_broken_videos,
    write_good_videos,
)
from tests.media import cut_short, numbered_video
from tests.waiting import patience

pytestmark = pytest.mark.usefixtures("prefect")

HERE = find_backend()
QUICKEST = {"select": {"limit": 1}, "deep": {"enabled": False}}
"""One video and no deep stage: for what neither makes another."""
GOOD = ["first.mp4", "more/THIRD.MP4", "second.mkv"]


@pytest.fixture(scope="module")
def good_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_good_videos(folder)
    return folder


@pytest.fixture(scope="module")
def mixed_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    write_good_videos(folder)
    write_broken_videos(folder)
    return folder


def run(source: Path, output: Path, models: Path, **groups: Any) -> tuple[State[Any], dict[str, Any]]:
    state = rank_videos(quick_settings(source, output, models, **groups), return_state=True)
    manifest = state.result(raise_on_failure=False)
    assert isinstance(manifest, dict), manifest
    return state, manifest


@pytest.fixture(scope="module")
def finished(
    good_videos: Path, demo_models: Path, prefect: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, State[Any], dict[str, Any]]:
    """One complete run over the good videos, for several tests to look at."""
    output = tmp_path_factory.mktemp("output")
    return output, *run(good_videos, output, demo_models, audit={"windows": 1})


Finished = tuple[Path, State[Any], dict[str, Any]]


def test_a_run_over_good_videos_is_complete(finished: Finished) -> None:
    _, state, manifest = finished
    assert state.name == manifest["state"] == "Completed"
    assert state.message == "3 of 3 videos ranked, 0 rejected, 0 failed"
    parts = {
        name: manifest["counts"][name] for name in ("listed", "ranked", "unchanged", "rejected", "failed")
    }
    assert parts == {"listed": 3, "ranked": 3, "unchanged": 0, "rejected": 0, "failed": 0}


def test_every_video_has_its_best_two_segments_ranked(finished: Finished, good_videos: Path) -> None:
    output, _, manifest = finished
    rows = read_table(output, "rankings", manifest["run_id"]).to_pylist()
    by_video: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_video.setdefault(row["video_uri"], []).append(row)
    assert sorted(by_video) == sorted(f"file://{good_videos}/{name}" for name in GOOD)
    for segments in by_video.values():
        assert [row["rank"] for row in segments] == [1, 2]
        assert segments[0]["score"] >= segments[1]["score"]
    assert [row["run_rank"] for row in rows] == list(range(1, 7))


def test_every_ranked_segment_was_analysed_and_its_score_is_the_weighted_sum(finished: Finished) -> None:
    output, _, manifest = finished
    for row in read_table(output, "rankings", manifest["run_id"]).to_pylist():
        assert row["deep_status"] == "ok"
        assert row["analysis_method"] == "VideoMAE + VideoLLaMA3"
        assert row["score"] == (6 * row["videollama3"]["virality_score"] + 4 * row["videomae_score"]) // 10
        assert all(row["start"] <= m["timestamp"] < row["end"] for m in row["videollama3"]["viral_moments"])
        assert row["models"]["videomae_revision"].startswith("sha256:")
        for name, value in (("device", HERE.device), ("dtype", HERE.dtype)):
            assert row[f"videollama3_{name}"] == manifest["models"][f"videollama3_{name}"] == value


def test_a_window_below_the_cut_is_judged_and_not_ranked(finished: Finished) -> None:
    output, _, manifest = finished
    rows = read_table(output, "windows", manifest["run_id"]).to_pylist()
    audited = [row for row in rows if row["audited"]]
    assert len(audited) == manifest["counts"]["audited"] > 0
    for row in audited:
        below = [each for each in rows if each["video_uri"] == row["video_uri"] and each["pack_rank"]]
        others = [each for each in below if not each["is_candidate"]]
        assert row in others
        assert (row["deep_status"], row["reason"]) == ("ok", "below_cut")
        assert 0 <= row["deep_expected_score"] <= 100
        assert row["audit_probability"] == 1 / len(others)
    assert manifest["throughput"]["deep"]["segments"] == sum(row["deep_status"] == "ok" for row in rows)
    ranked = read_table(output, "rankings", manifest["run_id"]).to_pylist()
    place = [(row["video_uri"], row["start"]) for row in audited]
    assert not {(row["video_uri"], row["start"]) for row in ranked} & {*place}


def test_every_window_is_kept_with_its_embedding(finished: Finished) -> None:
    output, _, manifest = finished
    table = read_table(output, "windows", manifest["run_id"])
    first = [row for row in table.to_pylist() if row["video_uri"].endswith("first.mp4")]
    assert [(row["start"], row["end"]) for row in first] == [
        (0, 5), (2, 7), (4, 9), (6, 11), (8, 13), (9, 14)
    ]  # fmt: skip
    assert {row["fast_kind"] for row in first} == {"salience"}
    assert any(any(row["embedding"]) for row in first)
    assert sum(row["reason"] is None for row in first) == 2


def test_the_manifest_names_every_file_with_its_checksum(finished: Finished) -> None:
    output, _, manifest = finished
    assert json.loads((output / "latest.json").read_text()) == {
        "run_id": manifest["run_id"],
        "manifest": f"runs/{manifest['run_id']}.json",
    }
    assert json.loads((output / "runs" / f"{manifest['run_id']}.json").read_text()) == manifest
    for entry in manifest["files"]:
        content = Path(entry["uri"].removeprefix("file://")).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
    rows = {
        entry["uri"].split("/run_date=")[0].rsplit("/", 1)[-1]: entry["rows"] for entry in manifest["files"]
    }
    windows = manifest["counts"]["windows"]
    assert rows == {"windows": windows, "failures": 0, "rankings": 6, "fingerprints": 6, "library": 3}


def test_the_manifest_says_how_fast_the_models_were(finished: Finished) -> None:
    _, _, manifest = finished
    counts, speed = manifest["counts"], manifest["throughput"]
    fast, deep = speed["fast"], speed["deep"]
    judged = counts["candidates"] + counts["audited"]
    assert (fast["windows"], deep["segments"]) == (counts["windows"], judged)
    assert (fast["devices"], deep["devices"]) == (1, 1)
    assert fast["video_hours_per_hour"] == pytest.approx(manifest["hours_of_video"] * 3600 / fast["seconds"])
    assert deep["segments_per_minute"] == pytest.approx(60 * deep["segments"] / deep["seconds"])
    assert deep["prompt_tokens"] > deep["output_tokens"] > 83 * deep["segments"]
    assert 0.5 < deep["efficiency"] <= 1
    assert 0 < speed["device_busy"] < 1
    assert deep["busy_seconds"] + fast["busy_seconds"] < manifest["seconds"]["whole"]


def test_analysts_read_the_partitions_with_their_date(finished: Finished) -> None:
    output, _, manifest = finished
    query = "select run_date, count(*) from read_parquet(?, hive_partitioning = true) group by all"
    found = duckdb.execute(query, [f"{output}/rankings/**/*.parquet"]).fetchall()
    assert [(str(day), count) for day, count in found] == [(manifest["run_date"], 6)]


def test_a_second_run_gives_the_same_rows_in_the_same_order(
    finished: Finished, good_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    output, _, first = finished
    _, second = run(good_videos, tmp_path, demo_models, audit={"windows": 1})
    for kind in ("rankings", "windows", "failures"):
        before = rows_without(read_table(output, kind, first["run_id"]), "run_id")
        after = rows_without(read_table(tmp_path, kind, second["run_id"]), "run_id")
        assert before == after


def test_broken_videos_are_a_row_each_and_the_good_are_ranked(
    mixed_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    state, manifest = run(mixed_videos, tmp_path, demo_models, deep={"enabled": False})
    assert state.is_completed()
    assert state.name == "CompletedWithFailures"
    assert manifest["counts"] | {"listed": 8, "ranked": 3, "rejected": 5, "failed": 0} == manifest["counts"]
    failures = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    found = {row["video_uri"].rsplit("/", 1)[-1]: row["reason"] for row in failures}
    assert found == BROKEN
    assert len(failures) == len(BROKEN)
    assert {row["kind"] for row in failures} == {"rejected"}
    assert all(row["detail"].endswith((".", "?")) for row in failures)
    ranked = read_table(tmp_path, "rankings", manifest["run_id"]).column("video_uri").to_pylist()
    assert {uri.removeprefix(f"file://{mixed_videos}/") for uri in ranked} == set(GOOD)


ODD_NAMES = {
    b"{braces} [red] 100%.mp4": "{braces} [red] 100%.mp4",
    b"-new\nline.mp4": "-new\nline.mp4",
    b"\xf0\x9f\x99\x82.mp4": "\N{SLIGHTLY SMILING FACE}.mp4",
    b"not\xfftext.mp4": "not\\udcfftext.mp4",
}
"""Names of files, and how the tables spell them."""


def test_odd_names_are_ranked_like_any_other(demo_models: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ODD_NAMES:
        numbered_video(tmp_path / "plain.mp4", seconds=6).rename(videos / os.fsdecode(name))
    state, manifest = run(videos, tmp_path / "out", demo_models, deep={"enabled": False})
    assert state.name == "Completed"
    uris = read_table(tmp_path / "out", "rankings", manifest["run_id"]).column("video_uri").to_pylist()
    assert {uri.removeprefix(f"file://{videos}/") for uri in uris} == set(ODD_NAMES.values())


def test_a_file_cut_off_late_is_ranked_as_far_as_it_goes_and_flagged(
    demo_models: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    whole = numbered_video(tmp_path / "whole.mkv", seconds=20)
    cut_short(whole, videos / "cut.mkv", fraction=0.6)
    state, manifest = run(videos, tmp_path / "out", demo_models, deep={"enabled": False})
    assert state.name == "CompletedWithFailures"
    assert state.message == "1 of 1 video ranked, 0 rejected, 0 failed, 1 ranked only in part"
    (failure,) = read_table(tmp_path / "out", "failures", manifest["run_id"]).to_pylist()
    assert (failure["stage"], failure["kind"], failure["reason"]) == ("decode", "rejected", "truncated")
    sentence = (
        r"The file declares 20.0 s, but only 1\d\.\d s can be decoded. What could be decoded is ranked."
    )
    assert re.fullmatch(sentence, failure["detail"])


@pytest.mark.parametrize("model", ["videomae", "s3://no-such-bucket/model"])
def test_a_deep_model_that_is_another_or_out_of_reach_does_not_stop_the_run(
    good_videos: Path, demo_models: Path, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    named = model if model.startswith("s3://") else str(demo_models / model)
    state, manifest = run(good_videos, tmp_path, demo_models, deep={"model": named}, select={"limit": 2})
    assert state.name == "CompletedWithFailures"
    assert manifest["counts"]["ranked"] == 2
    assert manifest["counts"]["unanswered"] == manifest["counts"]["candidates"] > 0
    failures = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    assert [(row["stage"], row["start"]) for row in failures] == [("deep", None)] * 2


def test_without_the_deep_model_the_run_goes_on_and_every_row_says_why(
    good_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    nowhere = {"model": "/nowhere/videollama3"}
    state, manifest = run(good_videos, tmp_path, demo_models, deep=nowhere, select={"limit": 2})
    assert state.name == "CompletedWithFailures"
    rows = read_table(tmp_path, "rankings", manifest["run_id"]).to_pylist()
    assert {(row["deep_status"], row["deep_reason"]) for row in rows} == {("failed", "model_unavailable")}
    assert {row["analysis_method"] for row in rows} == {"VideoMAE only"}
    assert all(row["videollama3"] is None and row["score"] == row["videomae_score"] for row in rows)
    failures = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    assert [(row["stage"], row["reason"]) for row in failures] == [("deep", "model_unavailable")] * 2
    assert "/nowhere/videollama3" in failures[0]["detail"]


@pytest.mark.logs_error
def test_a_gpu_that_cannot_be_used_ends_the_run_before_a_video_is_opened(
    good_videos: Path, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.version.cuda:
        pytest.skip("this PyTorch can use GPUs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    state = rank_videos(quick_settings(good_videos, tmp_path, demo_models), return_state=True)
    assert state.is_failed()
    with pytest.raises(ModelError, match=r"built without CUDA.* set engine\.device to cpu") as raised:
        state.result()
    assert raised.value.reason == "gpu_unusable"
    assert not (tmp_path / "latest.json").exists()
    _, manifest = run(good_videos, tmp_path, demo_models, engine={"device": "cpu"}, **QUICKEST)
    assert [device["kind"] for device in manifest["devices"]] == ["cpu"]


def test_the_deep_stage_can_be_left_out(good_videos: Path, demo_models: Path, tmp_path: Path) -> None:
    state, manifest = run(good_videos, tmp_path, demo_models, **QUICKEST)
    assert state.name == "Completed"
    rows = read_table(tmp_path, "rankings", manifest["run_id"]).to_pylist()
    assert {(row["deep_status"], row["deep_reason"]) for row in rows} == {("skipped", "disabled")}


def test_too_short_and_too_large_videos_are_refused_by_their_limit(
    good_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    largest = (good_videos / "second.mkv").stat().st_size
    _, manifest = run(
        good_videos,
        tmp_path,
        demo_models,
        windows={"min_window_seconds": 10},
        limits={"max_file_gb": (largest + 1) / 1e9},
    )
    failures = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    found = {row["video_uri"].rsplit("/", 1)[-1]: (row["reason"], row["detail"]) for row in failures}
    assert found["second.mkv"][0] == "too_short"
    assert "min_window_seconds = 10" in found["second.mkv"][1]
    assert found["first.mp4"][0] == "too_large"
    assert "limits.max_file_gb" in found["first.mp4"][1]


def test_a_dry_run_lists_and_writes_nothing(good_videos: Path, demo_models: Path, tmp_path: Path) -> None:
    state, listing = run(good_videos, tmp_path / "out", demo_models, dry_run=True)
    assert state.name == "DryRun"
    assert [video["uri"].rsplit("/", 1)[-1] for video in listing["videos"]] == [
        "first.mp4", "THIRD.MP4", "second.mkv"
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.logs_error
def test_a_source_without_videos_fails_and_says_so(demo_models: Path, tmp_path: Path) -> None:
    state = rank_videos(quick_settings(tmp_path, tmp_path / "out", demo_models), return_state=True)
    assert state.is_failed()
    assert "No video under" in str(state.message)
    assert not (tmp_path / "out").exists()


@pytest.mark.logs_error
def test_too_many_failures_fail_the_run_but_what_is_good_is_published(
    mixed_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    few = {"limits": {"max_failed_fraction": 0.5}, "deep": {"enabled": False}}
    state = rank_videos(quick_settings(mixed_videos, tmp_path, demo_models, **few), return_state=True)
    assert state.is_failed()
    manifest = json.loads(next((tmp_path / "runs").iterdir()).read_text())
    assert manifest["state"] == "Failed"
    assert manifest["counts"]["ranked"] == 3


@pytest.mark.logs_error
def test_a_failed_run_leaves_the_pointer_on_the_one_before(
    good_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    _, good = run(good_videos, tmp_path / "out", demo_models, **QUICKEST)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "empty.mp4").touch()
    failed, _ = run(broken, tmp_path / "out", demo_models)
    assert failed.is_failed()
    assert json.loads((tmp_path / "out" / "latest.json").read_text())["run_id"] == good["run_id"]
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


@pytest.mark.logs_error
def test_an_output_that_cannot_be_written_stops_the_run_before_any_video(
    good_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    state = rank_videos(
        quick_settings(good_videos, tmp_path / "file" / "out", demo_models), return_state=True
    )
    assert state.is_failed()
    assert "file/out" in str(state.message)


@pytest.mark.logs_error
def test_a_missing_fast_model_stops_the_run_before_any_video(good_videos: Path, tmp_path: Path) -> None:
    state = rank_videos(quick_settings(good_videos, tmp_path / "out", Path("/nowhere")), return_state=True)
    assert state.is_failed()
    assert "/nowhere/videomae" in str(state.message)


@pytest.mark.logs_error
def test_a_head_of_another_model_stops_the_run_before_any_video(
    good_videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "head.json").write_text('{"kind": "ridge"}')
    save_file({"weight": np.ones(3), "bias": np.zeros(1)}, tmp_path / "head" / "head.safetensors")
    fast = {"head": str(tmp_path / "head")}
    settings = quick_settings(good_videos, tmp_path / "out", demo_models, fast=fast)
    state = rank_videos(settings, return_state=True)
    assert state.is_failed()
    assert "was fitted on embeddings of 3 dimensions, but fast.model gives" in str(state.message)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.logs_error
def test_a_missing_head_is_found_before_a_model_is_downloaded(good_videos: Path, tmp_path: Path) -> None:
    fast = {"head": str(tmp_path / "no-head")}
    settings = quick_settings(good_videos, tmp_path / "out", Path("/nowhere"), fast=fast)
    state = rank_videos(settings, return_state=True)
    assert "no-head is not a score head" in str(state.message)


def test_one_video_is_scored_while_another_is_analysed(
    good_videos: Path, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored, overlapped = threading.Semaphore(0), []
    score, analyse = VideoMAE.features, VideoLlama3.analyse

    def noted(self: VideoMAE, *arguments: Any, **named: Any) -> Any:
        scored.release()
        return score(self, *arguments, **named)

    def held(self: VideoLlama3, *arguments: Any, **named: Any) -> Any:
        if not overlapped:  # the first video is held up until the windows of another are looked at
            overlapped.append(all(scored.acquire(timeout=patience(60)) for _ in range(2)))
        return analyse(self, *arguments, **named)

    monkeypatch.setattr(VideoMAE, "features", noted)
    monkeypatch.setattr(VideoLlama3, "analyse", held)
    _, manifest = run(good_videos, tmp_path, demo_models, select={"limit": 2})
    assert overlapped == [True]
    assert manifest["counts"]["ranked"] == 2


def test_what_was_analysed_is_not_analysed_again(
    good_videos: Path, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "videos", tmp_path / "output"
    source.mkdir()
    shutil.copy(good_videos / "second.mkv", source)
    _, first = run(source, output, demo_models)
    assert first["counts"]["cached"] == 0
    asked = watch_analyses(monkeypatch)
    weights = {"deep_weight": "0.2", "fast_weight": "0.8", "top_n": 1, "candidate_multiplier": 4}
    _, again = run(source, output, demo_models, ranking=weights)
    assert asked == []
    assert again["counts"]["cached"] == again["counts"]["candidates"] == first["counts"]["candidates"]
    assert again["throughput"]["deep"]["segments_per_minute"] is None
    numbered_video(source / "added.mp4", seconds=6)
    _, more = run(source, output, demo_models)
    assert more["counts"]["cached"] == first["counts"]["candidates"]
    assert len(asked) == more["counts"]["candidates"] - more["counts"]["cached"] > 0
    assert more["throughput"]["deep"]["segments"] == len(asked)
    before, after = (
        rows_without(read_table(output, "rankings", m["run_id"]), "run_id", "run_rank", "library_percentile")
        for m in (first, more)
    )
    assert [row for row in after if "added" not in row["video_uri"]] == before


@pytest.mark.parametrize("change", [{"prompt": "Is it funny?"}, {"max_frames": 4}])
def test_another_question_is_asked_anew(
    finished: tuple[Path, State[Any], dict[str, Any]],
    good_videos: Path,
    demo_models: Path,
    change: dict[str, Any],
) -> None:
    output, _, _ = finished
    _, manifest = run(good_videos, output, demo_models, select={"limit": 1}, deep=change)
    assert (manifest["counts"]["ranked"], manifest["counts"]["cached"]) == (1, 0)


def test_without_a_cache_every_candidate_is_analysed_anew(
    finished: Finished, good_videos: Path, demo_models: Path
) -> None:
    output, _, _ = finished
    anew = {"select": {"limit": 1, "rescore": True}, "deep": {"cache": "off"}}
    _, manifest = run(good_videos, output, demo_models, **anew)
    assert (manifest["counts"]["ranked"], manifest["counts"]["cached"]) == (1, 0)


def watch_analyses(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """The segments that the model is asked about from here on."""
    asked: list[Window] = []
    original = VideoLlama3.analyse

    def analyse(self: VideoLlama3, frames_of: ReadFrames, windows: Sequence[Window], **kwargs: Any) -> Any:
        asked.extend(windows)
        return original(self, frames_of, windows, **kwargs)

    monkeypatch.setattr(VideoLlama3, "analyse", analyse)
    return asked
