"""The same job on S3: the same rankings as from a folder, whatever happens on the way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.rank_videos import rank_videos
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tests.library import (
    portable,
    quick_settings,
    read_table,
    rows_without,
    upload,
    write_broken_videos,
    write_good_videos,
)
from tests.s3 import Bucket, Disturbance

pytest_plugins = ["tests.s3"]
pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_good_videos(folder)
    write_broken_videos(folder)
    return folder


def run(source: object, output: object, models: Path, **groups: Any) -> dict[str, Any]:
    state = rank_videos(quick_settings(source, output, models, **groups), return_state=True)
    manifest = state.result(raise_on_failure=False)
    assert isinstance(manifest, dict), manifest
    return manifest


def published(bucket: Bucket, kind: str, manifest: dict[str, Any]) -> pa.Table:
    key = f"out/{kind}/run_date={manifest['run_date']}/{manifest['run_id']}.parquet"
    return pq.ParquetFile(pa.BufferReader(bucket.get(key))).read()


def test_a_bucket_and_a_folder_give_the_same_rankings(
    videos: Path, bucket: Bucket, demo_models: Path, tmp_path: Path
) -> None:
    upload(videos, bucket, "library")
    on_s3 = run(f"{bucket.uri}/library", f"{bucket.uri}/out", demo_models)
    on_disk = run(videos, tmp_path, demo_models)
    assert on_s3["state"] == on_disk["state"] == "CompletedWithFailures"
    assert on_s3["counts"] == on_disk["counts"]
    for kind in ("rankings", "windows", "failures"):
        from_s3 = portable(published(bucket, kind, on_s3), f"{bucket.uri}/library")
        from_disk = portable(read_table(tmp_path, kind, on_disk["run_id"]), f"file://{videos}")
        assert from_s3
        assert from_s3 == from_disk
    uploaded = published(bucket, "library", on_s3)["last_modified"].to_pylist()
    assert all(datetime.now(UTC) - timedelta(hours=1) < time <= datetime.now(UTC) for time in uploaded)


def test_the_output_in_a_bucket_is_complete_when_the_pointer_names_it(
    videos: Path, bucket: Bucket, demo_models: Path
) -> None:
    upload(videos, bucket, "library")
    quickest = {"select": {"pattern": "{second.mkv,empty.mp4}"}, "deep": {"enabled": False}}
    manifest = run(f"{bucket.uri}/library", f"{bucket.uri}/out", demo_models, **quickest)
    pointer = json.loads(bucket.get("out/latest.json"))
    assert json.loads(bucket.get(f"out/{pointer['manifest']}")) == manifest
    assert {entry["uri"].removeprefix(f"{bucket.uri}/") for entry in manifest["files"]} < set(bucket.names())
    assert bucket.uploads() == []


def test_models_may_lie_in_a_bucket(videos: Path, bucket: Bucket, demo_models: Path, tmp_path: Path) -> None:
    upload(demo_models, bucket, "models")
    only_one = {"pattern": "second.mkv"}
    models = {
        "fast": {"model": f"{bucket.uri}/models/videomae"},
        "deep": {"model": f"{bucket.uri}/models/videollama3"},
    }
    from_s3 = run(videos, tmp_path, demo_models, select=only_one, **models)
    for model in ("videomae", "videollama3"):
        revision = resolve_checkpoint(str(demo_models / model)).revision
        assert from_s3["models"][f"{model}_revision"] == revision
    assert from_s3["models"]["videollama3"] == f"{bucket.uri}/models/videollama3"


def test_a_list_of_videos_is_ranked_wherever_they_lie(
    videos: Path, bucket: Bucket, demo_models: Path, tmp_path: Path
) -> None:
    bucket.put("library/first.mp4", (videos / "first.mp4").read_bytes())
    named = [f"{bucket.uri}/library/first.mp4", str(videos / "second.mkv")]
    wrong = [f"{bucket.uri}/library/gone.mp4", "https://host/a.mp4"]
    (tmp_path / "tonight.csv").write_text("\n".join(["uri", *named, *wrong]))
    source, output = tmp_path / "tonight.csv", tmp_path / "out"
    first = run(source, output, demo_models, deep={"enabled": False})
    again = run(source, output, demo_models, deep={"enabled": False})
    assert first["message"] == "2 of 4 videos ranked, 1 rejected, 1 failed"
    assert again["message"] == "0 of 4 videos ranked, 2 unchanged, 1 rejected, 1 failed"
    ranked = {row["video_uri"] for row in read_table(output, "rankings", again["run_id"]).to_pylist()}
    assert ranked == {named[0], f"file://{named[1]}"}
    failures = read_table(output, "failures", again["run_id"]).to_pylist()
    assert sorted((row["video_uri"], row["stage"], row["reason"]) for row in failures) == [
        (wrong[1], "fetch", "invalid"),
        (wrong[0], "fetch", "not_found"),
    ]


def test_a_video_replaced_after_listing_fails_alone(
    videos: Path, network: Disturbance, moto_server: Any, demo_models: Path, tmp_path: Path
) -> None:
    bucket = moto_server.new_bucket()
    upload(videos, bucket, "library")

    def replace_when_read(request: str) -> None:
        if request.startswith("GET") and "first.mp4" in request:
            bucket.put("library/first.mp4", b"something else entirely")

    network.before = replace_when_read
    pattern = {"pattern": "{first.mp4,second.mkv}"}
    manifest = run(f"{bucket.uri}/library", tmp_path, demo_models, select=pattern, deep={"enabled": False})
    assert (manifest["counts"]["ranked"], manifest["counts"]["failed"]) == (1, 1)
    (failure,) = read_table(tmp_path, "failures", manifest["run_id"]).to_pylist()
    assert (failure["stage"], failure["kind"], failure["reason"]) == ("fetch", "failed", "changed")


def test_a_second_night_reads_no_video_from_the_bucket(
    videos: Path, network: Disturbance, moto_server: Any, demo_models: Path
) -> None:
    bucket = moto_server.new_bucket()
    upload(videos, bucket, "library")
    some = {"select": {"pattern": "{second.mkv,more/*,empty.mp4}"}}
    first = run(f"{bucket.uri}/library", f"{bucket.uri}/out", demo_models, **some)
    requests: list[str] = []
    network.before = requests.append
    second = run(f"{bucket.uri}/library", f"{bucket.uri}/out", demo_models, **some)
    lower = {"ranking": {"viral_threshold": 1}}
    third = run(f"{bucket.uri}/library", f"{bucket.uri}/out", demo_models, **lower, **some)
    assert any("latest.json" in request for request in requests)
    assert not any(kind in request.lower() for request in requests for kind in (".mp4", ".mkv"))
    assert second["counts"]["unchanged"] == third["counts"]["unchanged"] == first["counts"]["ranked"] == 2
    before, after = (
        rows_without(published(bucket, "rankings", night), "run_id") for night in (first, second)
    )
    assert before == after
    assert all(row["is_viral"] for row in published(bucket, "rankings", third).to_pylist() if row["score"])
