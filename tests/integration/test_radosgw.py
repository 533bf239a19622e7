"""What holds against an imitation holds against a real S3 server."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.rank_videos import rank_videos
from tasks.adapters.storage import open_store
from tasks.adapters.storage.s3 import S3Store
from tasks.adapters.storage.sources.uri_list import is_uri_list, videos_of_list
from tasks.core.errors import ObjectChanged, StorageError
from tasks.core.records import VideoRef
from tests.flows.test_hostile_names import NAMES, check_rows
from tests.library import portable, quick_settings, read_table, upload, write_broken_videos, write_good_videos
from tests.media import numbered_video
from tests.s3 import Bucket, Server, point_at

pytestmark = pytest.mark.integration

MIB = 2**20
ODD_KEYS = [
    "two words.MP4",
    "ünï-ćode 視頻.mp4",
    "100%25 %.mp4",
    "-dash.mp4",
    "[1080p] (final).mp4",
    "a+b&c=d;e#f.mp4",
    "new\nline.mp4",
    "up/../and//down/./a.mp4",
]
HOSTILE_KEYS = [
    *NAMES,
    "../../../../escape.mp4",
    "a/../../b.mp4",
    "/absolute.mp4",
    "./dot.mp4",
    f"{'long/' * 40}a.mp4",
]


def listed(bucket: Bucket, key: str) -> VideoRef:
    [video] = open_store(f"{bucket.uri}/{key}").videos("**")
    return video


@pytest.mark.parametrize("size", [0, 1, 40 * MIB])
def test_what_is_published_comes_back(bucket: Bucket, tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    (tmp_path / "local").write_bytes(body)
    open_store(bucket.uri).publish(tmp_path / "local", "runs/a.bin")
    assert bucket.get("runs/a.bin") == body
    assert bucket.uploads() == []
    video = listed(bucket, "runs/a.bin")
    open_store(bucket.uri).download(video, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == body
    assert open_store(bucket.uri).read_bytes("runs/a.bin") == body


def test_odd_keys_are_kept_verbatim(bucket: Bucket, tmp_path: Path) -> None:
    for key in ODD_KEYS:
        bucket.put(f"in/{key}", key.encode())
    bucket.put("in/folder.mp4/")
    store = open_store(f"{bucket.uri}/in")
    videos = store.videos("**/*.mp4")
    assert {video.uri for video in videos} == {f"{bucket.uri}/in/{key}" for key in ODD_KEYS}
    for video in videos:
        store.download(video, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == video.uri.removeprefix(f"{store.uri}/").encode()


def test_1100_keys_are_listed_whole(bucket: Bucket) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bucket.put, (f"in/{n % 7}/{n:04}.mp4" for n in range(1100))))
    assert len(open_store(f"{bucket.uri}/in").videos("**/*.mp4")) == 1100


def test_a_replaced_object_is_not_taken(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.mp4", b"one")
    video = listed(bucket, "a.mp4")
    bucket.put("a.mp4", b"two")
    with pytest.raises(ObjectChanged):
        open_store(bucket.uri).download(video, tmp_path / "got")
    bucket.delete("a.mp4")
    with pytest.raises(ObjectChanged):
        open_store(bucket.uri).download(video, tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


def test_an_object_replaced_between_two_blocks_is_not_taken(bucket: Bucket, tmp_path: Path) -> None:
    class ReplacedMeanwhile(S3Store):
        def _opened(self, stream: object) -> VideoRef:
            version = super()._opened(stream)
            bucket.put("a.mp4", bytes(20 * MIB))
            return version

    bucket.put("a.mp4", os.urandom(20 * MIB))
    with pytest.raises(ObjectChanged):
        ReplacedMeanwhile(bucket.name).download(listed(bucket, "a.mp4"), tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["secret_key", "access_key"])
def test_wrong_credentials_are_denied_at_once(
    bucket: Bucket, radosgw: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str
) -> None:
    point_at(monkeypatch, replace(radosgw, **{wrong: "not-the-right-one"}))
    store = open_store(bucket.uri)
    (tmp_path / "local").write_bytes(b"x")
    attempts: list[Callable[[], object]] = [
        lambda: store.videos("**"),
        lambda: store.read_bytes("a.mp4"),
        lambda: store.publish(tmp_path / "local", "a.mp4"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=r"Check that the credentials") as caught:
            attempt()
        assert (caught.value.reason, caught.value.retryable) == ("denied", False)
        assert "not-the-right-one" not in str(caught.value)


def test_a_public_bucket_is_read_without_credentials(
    radosgw: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    public = radosgw.new_bucket(ACL="public-read")
    public.put("a.mp4", b"film", ACL="public-read")
    bucket.put("a.mp4")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store(public.uri)
    store.download(store.videos("*")[0], tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"film"
    with pytest.raises(StorageError) as caught:
        open_store(bucket.uri).videos("*")
    assert caught.value.reason == "no_credentials"


def test_an_error_repeats_what_the_gateway_says(
    bucket: Bucket, radosgw: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.mp4")
    point_at(monkeypatch, replace(radosgw, secret_key="not-the-right-one"))
    for attempt in (lambda: open_store(bucket.uri).videos("**"), open_store(f"{bucket.uri}/a.mp4").file):
        with pytest.raises(StorageError, match="the store answered SignatureDoesNotMatch"):
            attempt()


def test_checksums_conditions_and_a_payer_are_taken(
    bucket: Bucket, radosgw: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(monkeypatch, radosgw)
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    store = open_store(bucket.uri)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.update("count", count_up), range(8)))
    assert bucket.get("count") == b"8"
    assert store._fs.connect().meta.config.request_checksum_calculation == "when_supported"


def count_up(current: bytes | None) -> bytes:
    return str(int(current or b"0") + 1).encode()


def test_a_list_of_videos_is_read_from_the_gateway(bucket: Bucket) -> None:
    for key in ("in/a b.mp4", "in/c.mp4"):
        bucket.put(key)
    bucket.put("lists/tonight.csv", f"uri\n../in/a b.mp4\n{bucket.uri}/in/c.mp4\n../in/gone.mp4\n".encode())
    source = open_store(f"{bucket.uri}/lists/tonight.csv")
    assert is_uri_list(source)
    listing = videos_of_list(source)
    assert [video.uri for video in listing.videos] == [f"{bucket.uri}/in/a b.mp4", f"{bucket.uri}/in/c.mp4"]
    assert [failure.reason for failure in listing.refused] == ["not_found"]


def test_a_missing_bucket_is_an_error(bucket: Bucket) -> None:
    with pytest.raises(StorageError) as caught:
        open_store("s3://no-such-bucket/in").videos("**")
    assert caught.value.reason == "not_found"
    assert open_store(f"{bucket.uri}/empty").videos("**") == []


@pytest.mark.usefixtures("prefect")
def test_a_real_bucket_and_a_folder_give_the_same_rankings(
    bucket: Bucket, demo_models: Path, tmp_path: Path
) -> None:
    videos, output = tmp_path / "videos", tmp_path / "out"
    write_good_videos(videos)
    write_broken_videos(videos)
    upload(videos, bucket, "library")
    source = f"{bucket.uri}/library"
    fast = {"deep": {"enabled": False}}  # analyses lie in a bucket in test_rank_videos_s3 and test_nights
    on_s3 = rank_videos(quick_settings(source, f"{bucket.uri}/out", demo_models, **fast))
    on_disk = rank_videos(quick_settings(videos, output, demo_models, **fast))
    assert on_s3["counts"] == on_disk["counts"]
    for kind in ("rankings", "windows", "failures"):
        key = f"out/{kind}/run_date={on_s3['run_date']}/{on_s3['run_id']}.parquet"
        from_s3 = portable(pq.ParquetFile(pa.BufferReader(bucket.get(key))).read(), source)
        assert from_s3 == portable(read_table(output, kind, on_disk["run_id"]), f"file://{videos}")


@pytest.mark.usefixtures("prefect")
def test_in_a_bucket_a_key_is_only_a_key(
    bucket: Bucket, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some would lead out of the scratch folder, or are otherwise odd; the server takes them all."""
    video = numbered_video(tmp_path / "film.mp4", seconds=5).read_bytes()
    for key in HOSTILE_KEYS:
        bucket.put(f"in/{key}", video)
    monkeypatch.chdir(tmp_path)
    scratch, output = tmp_path / "deep" / "scratch", tmp_path / "out"
    settings = quick_settings(
        f"{bucket.uri}/in", output, demo_models, limits={"scratch_dir": str(scratch)}, engine={"workers": 2}
    )
    manifest = rank_videos(settings)
    assert manifest["counts"]["ranked"] == manifest["counts"]["listed"] == len(HOSTILE_KEYS)
    check_rows(output, manifest["run_id"], [f"{bucket.uri}/in/{key}" for key in HOSTILE_KEYS])
    assert [path.name for path in scratch.glob("hookline-*/*")] == ["lock"]
    assert {path.name for path in tmp_path.iterdir()} == {"film.mp4", "deep", "out"}
