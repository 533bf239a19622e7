"""Keys that would lead out of the scratch folder, or are otherwise odd, on a server that takes them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.rank_videos import rank_videos
from tests.flows.test_hostile_names import NAMES, check_rows
from tests.library import quick_settings
from tests.media import numbered_video
from tests.s3 import Bucket

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("prefect")]

KEYS = [
    *NAMES,
    "../../../../escape.mp4",
    "a/../../b.mp4",
    "/absolute.mp4",
    "./dot.mp4",
    f"{'long/' * 40}a.mp4",
]


def test_in_a_bucket_a_key_is_only_a_key(
    bucket: Bucket, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = numbered_video(tmp_path / "film.mp4", seconds=8).read_bytes()
    for key in KEYS:
        bucket.put(f"in/{key}", video)
    monkeypatch.chdir(tmp_path)
    scratch, output = tmp_path / "deep" / "scratch", tmp_path / "out"
    settings = quick_settings(
        f"{bucket.uri}/in", output, demo_models, limits={"scratch_dir": str(scratch)}, engine={"workers": 2}
    )
    manifest = rank_videos(settings)
    assert manifest["counts"]["ranked"] == manifest["counts"]["listed"] == len(KEYS)
    check_rows(output, manifest["run_id"], [f"{bucket.uri}/in/{key}" for key in KEYS])
    assert [path.name for path in scratch.glob("hookline-*/*")] == ["lock"]
    assert {path.name for path in tmp_path.iterdir()} == {"film.mp4", "deep", "out"}
