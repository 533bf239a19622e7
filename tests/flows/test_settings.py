"""Settings do in a whole run what their descriptions say; those that other tests of runs do not set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from safetensors.numpy import save_file

from flows.rank_videos import rank_videos
from hookline.demo_models import VIDEOMAE_CONFIG
from tests.library import quick_settings, read_table, upload
from tests.media import numbered_video
from tests.s3 import Server

pytest_plugins = ["tests.s3"]
pytestmark = pytest.mark.usefixtures("prefect")

BIAS = 64.0


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    numbered_video(folder / "first.mp4", seconds=9, size=(320, 180))
    return folder


def run(videos: Path, output: Path, models: Path, **groups: Any) -> dict[str, Any]:
    state = rank_videos(quick_settings(videos, output, models, **groups), return_state=True)
    manifest = state.result(raise_on_failure=False)
    assert isinstance(manifest, dict), manifest
    return manifest


def write_head(folder: Path) -> Path:
    """A head that gives every window its bias."""
    folder.mkdir()
    (folder / "head.json").write_text(json.dumps({"kind": "ridge"}))
    weight = np.zeros(VIDEOMAE_CONFIG["hidden_size"], np.float32)
    save_file({"weight": weight, "bias": np.array([BIAS], np.float32)}, folder / "head.safetensors")
    return folder


def test_head_quantization_sampling_frames_and_crop_do_what_they_say(
    videos: Path, demo_models: Path, aws: Server, tmp_path: Path
) -> None:
    bucket = aws.new_bucket("heads")
    upload(write_head(tmp_path / "head"), bucket, "best")
    manifest = run(
        videos,
        tmp_path / "out",
        demo_models,
        fast={"head": "s3://heads/best"},
        windows={"sample_fps": 3},
        deep={"quantization": "int8", "max_frames": 4},
        publish={"clips": True, "crop": "4:5", "clips_of": "all"},
        limits={"memory_gb": 1},
    )
    assert manifest["state"] == "Completed"
    windows = read_table(tmp_path / "out", "windows", manifest["run_id"]).to_pylist()
    assert {(row["fast_kind"], row["videomae_score"]) for row in windows} == {("head", BIAS)}
    rows = read_table(tmp_path / "out", "rankings", manifest["run_id"]).to_pylist()
    assert {row["models"]["head"] for row in rows} == {"s3://heads/best"}
    assert {row["models"]["videollama3_quantization"] for row in rows} == {"int8"}
    assert {row["videollama3"]["frames"] for row in rows} == {4}
    library = read_table(tmp_path / "out", "library", manifest["run_id"]).to_pylist()
    assert [row["n_ticks"] for row in library] == [27]
    for row in rows:
        with av.open(str(tmp_path / "out" / row["clip_uri"])) as clip:
            size = clip.streams.video[0]
            assert (size.width, size.height) == (144, 180)


def test_rescoring_cuts_the_clips_of_unchanged_videos_too(
    videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    plain = run(videos, tmp_path, demo_models, deep={"enabled": False})
    again = {
        "select": {"rescore": True},
        "publish": {"clips": True, "clips_of": "all"},
        "deep": {"enabled": False},
    }
    cut = run(videos, tmp_path, demo_models, **again)
    rows = read_table(tmp_path, "rankings", cut["run_id"]).to_pylist()
    assert plain["counts"]["ranked"] == cut["counts"]["ranked"] == 1
    assert [(tmp_path / row["clip_uri"]).is_file() for row in rows] == [True, True]


def test_a_video_longer_than_the_limit_is_rejected_and_names_it(
    videos: Path, demo_models: Path, tmp_path: Path
) -> None:
    manifest = run(videos, tmp_path, demo_models, limits={"max_video_hours": 0.002})
    (failure,) = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    assert (failure["kind"], failure["reason"]) == ("rejected", "too_long")
    assert "limits.max_video_hours" in failure["detail"]
