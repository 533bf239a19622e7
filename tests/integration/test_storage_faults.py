"""A real S3 server behind a bad network: every fault has its outcome, and its message names the fix."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import botocore.auth
import pytest

from tasks.adapters.storage import open_store
from tasks.adapters.storage import s3 as s3_adapter
from tasks.core.errors import ObjectChanged, StorageError
from tasks.core.records import VideoRef
from tests.s3 import BLOCK, Bucket, Disturbance, Fault, Server, disturbed
from tests.waiting import patience

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("small_blocks")]

FILM = os.urandom(2 * BLOCK + BLOCK // 2)
THIRD = BLOCK // 3
ALWAYS = 10**6


@pytest.fixture
def network(bucket: Bucket, radosgw: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disturbance]:
    """Hookline's way to the gateway leads through a proxy; a `Bucket` goes past it."""
    with disturbed(monkeypatch, radosgw) as disturbance:
        yield disturbance


@pytest.fixture
def film(bucket: Bucket, network: Disturbance) -> VideoRef:
    """A video of three blocks, listed over a network that still works."""
    bucket.put("film.mp4", FILM)
    [video] = open_store(bucket.uri).videos("*")
    return video


def refusal(attempt: Callable[[], object]) -> StorageError:
    with pytest.raises(StorageError) as caught:
        attempt()
    return caught.value


def download(video: VideoRef, folder: Path, *, deadline_s: float = 60) -> bytes:
    open_store(video.uri).download(video, folder / "video", deadline_s=deadline_s)
    return (folder / "video").read_bytes()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", after_bytes=THIRD),
        Fault("reset", only=f"bytes={BLOCK}-", after_bytes=THIRD),
        Fault("close", only=f"bytes={2 * BLOCK}-", after_bytes=THIRD),
        Fault("reply", status=500, code="InternalError", times=2),
        Fault("reply", status=503, code="SlowDown", times=2),
    ],
    ids=str,
)
def test_a_passing_fault_is_overcome(
    film: VideoRef, network: Disturbance, tmp_path: Path, fault: Fault
) -> None:
    network.faults.append(fault)
    assert download(film, tmp_path) == FILM
    assert fault.times == 0


@pytest.mark.parametrize(
    ("fault", "reasons", "fix"),
    [
        (Fault("reset", after_bytes=THIRD), ("torn", "unavailable"), "ry again"),
        (Fault("close", after_bytes=THIRD), ("torn",), "Try again"),
        (Fault("reply", status=500, code="InternalError"), ("unavailable",), "AWS_ENDPOINT_URL"),
        (Fault("reply", status=503, code="SlowDown"), ("throttled",), "fewer workers"),
    ],
    ids=str,
)
def test_a_lasting_fault_is_an_error_worth_another_try(
    film: VideoRef, network: Disturbance, tmp_path: Path, fault: Fault, reasons: tuple[str, ...], fix: str
) -> None:
    network.faults.append(replace(fault, times=ALWAYS))
    error = refusal(lambda: download(film, tmp_path))
    assert error.reason in reasons
    assert error.retryable
    assert fix in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after_bytes", [0, THIRD], ids=["from its head on", "in its body"])
def test_a_store_that_drips_is_left_at_the_deadline(
    film: VideoRef, network: Disturbance, tmp_path: Path, after_bytes: int
) -> None:
    network.faults.append(Fault("drip", times=ALWAYS, only="bytes=", after_bytes=after_bytes))
    began = time.monotonic()
    error = refusal(lambda: download(film, tmp_path, deadline_s=2))
    assert time.monotonic() - began < patience(6)
    assert (error.reason, error.retryable) == ("deadline", False)
    assert "limits.deadline_seconds" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_no_request_drips_for_ever(
    bucket: Bucket, network: Disturbance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_adapter, "REQUEST_TIMEOUT_S", 1.0)
    monkeypatch.setattr(s3_adapter, "MAX_ATTEMPTS", 2)
    bucket.put("a.mp4", b"film")
    network.faults.append(Fault("drip", times=ALWAYS))
    began = time.monotonic()
    error = refusal(lambda: open_store(bucket.uri).videos("*"))
    assert time.monotonic() - began < patience(10)
    assert (error.reason, error.retryable) == ("unavailable", True)


@pytest.mark.parametrize("moment", ["before it is opened", "between two blocks"])
def test_an_object_replaced_after_it_was_listed_is_not_taken(
    film: VideoRef, bucket: Bucket, network: Disturbance, tmp_path: Path, moment: str
) -> None:
    def overwrite(request: str) -> None:
        if moment == "before it is opened" or f"bytes={BLOCK}-" in request:
            network.before = lambda request: None
            bucket.put("film.mp4", bytes(reversed(FILM)))

    network.before = overwrite
    with pytest.raises(ObjectChanged, match="List it again"):
        download(film, tmp_path)
    assert network.before is not overwrite
    assert list(tmp_path.iterdir()) == []


def test_credentials_that_expire_in_the_middle_are_named(
    film: VideoRef, network: Disturbance, tmp_path: Path
) -> None:
    expired = Fault("reply", only=f"bytes={BLOCK}-", status=400, code="ExpiredToken")
    network.faults.append(expired)
    error = refusal(lambda: download(film, tmp_path))
    assert (error.reason, error.retryable, expired.times) == ("denied", False, 0)
    assert "the store answered ExpiredToken" in str(error)
    assert "Check that the credentials (are they still valid?)" in str(error)


def test_a_clock_that_is_wrong_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    now = botocore.auth.get_current_datetime
    late = timedelta(hours=1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: now(*a, **k) - late)
    error = refusal(lambda: open_store(bucket.uri).videos("*"))
    assert (error.reason, error.retryable) == ("clock_skew", False)
    assert "Set this machine's clock" in str(error)


def test_an_output_that_may_not_be_written_is_named_and_stays_as_it_is(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("out/latest.json", b"old")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:PutObject", "s3:DeleteObject"],
        "Resource": [f"arn:aws:s3:::{bucket.name}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=policy)
    (tmp_path / "local").write_bytes(b"new")
    store = open_store(f"{bucket.uri}/out")
    attempts: list[Callable[[], object]] = [
        lambda: store.publish(tmp_path / "local", "latest.json"),
        lambda: store.update("latest.json", lambda current: b"new"),
        lambda: store.remove("latest.json"),
    ]
    for attempt in attempts:
        error = refusal(attempt)
        assert (error.reason, error.retryable) == ("denied", False)
        assert "Check that the credentials" in str(error)
    assert store.read_bytes("latest.json") == b"old"


def test_a_bucket_that_is_gone_is_named(film: VideoRef, bucket: Bucket, tmp_path: Path) -> None:
    bucket.delete("film.mp4")
    bucket.client.delete_bucket(Bucket=bucket.name)
    (tmp_path / "local").write_bytes(b"x")
    store = open_store(bucket.uri)
    for attempt in (lambda: store.videos("*"), lambda: store.publish(tmp_path / "local", "a")):
        error = refusal(attempt)
        assert (error.reason, error.retryable) == ("not_found", False)
        assert "Check the bucket or folder" in str(error)
    with pytest.raises(ObjectChanged):
        store.download(film, tmp_path / "video")


def test_a_full_scratch_disk_is_named(film: VideoRef, small_disk: Path) -> None:
    error = refusal(lambda: download(film, small_disk))
    assert (error.reason, error.retryable) == ("no_space", True)
    assert "Free some space" in str(error)
    assert list(small_disk.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("may not mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_of_many_updates_at_once_none_is_lost(bucket: Bucket) -> None:
    def add_one(current: bytes | None) -> bytes:
        return str(int(current or b"0") + 1).encode()

    store = open_store(f"{bucket.uri}/out")
    with ThreadPoolExecutor(3) as pool:
        for _ in pool.map(lambda _: store.update("count", add_one), range(9)):
            pass
    assert bucket.get("out/count") == b"9"


def test_an_upload_that_was_broken_off_long_ago_is_given_up(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="out/windows/a.parquet")
    store = open_store(f"{bucket.uri}/out")
    store.remove_parts()
    assert bucket.uploads() == ["out/windows/a.parquet"]
    monkeypatch.setattr(s3_adapter, "PART_IS_DEAD_AFTER_S", -1)
    open_store(f"{bucket.uri}/other").remove_parts()
    assert bucket.uploads() == ["out/windows/a.parquet"]
    store.remove_parts()
    assert bucket.uploads() == []
