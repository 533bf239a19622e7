"""A bad network yields the right bytes or a clear error, in bounded time, and never leaves a part."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage import s3 as s3_adapter
from tasks.core.errors import ObjectChanged, StorageError
from tasks.core.records import VideoRef
from tests.s3 import BLOCK, SECRET_KEY, Bucket, Disturbance, Fault, Server, fill, point_at
from tests.waiting import patience

pytest_plugins = ["tests.s3"]
pytestmark = pytest.mark.usefixtures("small_blocks")

FILM = os.urandom(2 * BLOCK + BLOCK // 2)
THIRD = BLOCK // 3
OTHER = bytes(reversed(FILM))
ALWAYS = 10**6


@pytest.fixture
def film(bucket: Bucket, network: Disturbance) -> VideoRef:
    """A video of three blocks, listed over a network that still works."""
    fill(bucket, {"film.mp4": FILM})
    [video] = open_store(bucket.uri).videos("*")
    network.requests.clear()
    return video


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def download(video: VideoRef, scratch: Path) -> bytes:
    open_store(video.uri).download(video, scratch / "video")
    return (scratch / "video").read_bytes()


def refusal(attempt: Callable[[], object]) -> StorageError:
    with pytest.raises(StorageError) as caught:
        attempt()
    return caught.value


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", after_bytes=0),
        Fault("reset", after_bytes=THIRD),
        Fault("reset", only=f"bytes={BLOCK}-", after_bytes=THIRD),
        Fault("close", after_bytes=THIRD),
        Fault("close", only=f"bytes={2 * BLOCK}-", after_bytes=THIRD),
        Fault("reply", status=503, code="SlowDown", times=2),
        Fault("reply", status=500, code="InternalError", times=2),
        Fault("reply", method="HEAD", status=503, code="SlowDown", times=2),
    ],
    ids=str,
)
def test_a_passing_fault_is_overcome(
    film: VideoRef, network: Disturbance, scratch: Path, fault: Fault
) -> None:
    network.faults.append(fault)
    assert download(film, scratch) == FILM
    assert fault.times == 0
    assert os.listdir(scratch) == ["video"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (Fault("reset", after_bytes=THIRD), ("torn", "unavailable")),
        (Fault("close", only=f"bytes={BLOCK}-", after_bytes=THIRD), ("torn",)),
        (Fault("reply", status=503, code="SlowDown"), ("throttled",)),
        (Fault("reply", status=500, code="InternalError"), ("unavailable",)),
    ],
    ids=str,
)
def test_a_lasting_fault_is_an_error_worth_another_try(
    film: VideoRef, network: Disturbance, scratch: Path, fault: Fault, reasons: tuple[str, ...]
) -> None:
    fault.times = ALWAYS
    network.faults.append(fault)
    started_s = time.monotonic()
    error = refusal(lambda: download(film, scratch))
    assert error.reason in reasons
    assert error.retryable
    assert film.uri in str(error)
    assert os.listdir(scratch) == []  # noqa: PTH208
    assert time.monotonic() - started_s < patience(15)


@pytest.mark.parametrize(
    ("moment", "body"),
    [
        ("first GET", OTHER),
        ("second GET", OTHER),
        ("third GET", OTHER),
        ("second HEAD", OTHER),
        ("second GET", b"short"),
        ("second GET", None),
    ],
    ids=[
        "before block 1",
        "before block 2",
        "before block 3",
        "at the end",
        "by a shorter one",
        "by nothing",
    ],
)
def test_an_object_replaced_during_the_download_is_not_taken(
    film: VideoRef, bucket: Bucket, network: Disturbance, scratch: Path, moment: str, body: bytes | None
) -> None:
    ordinal, method = moment.split()

    def replace(request: str) -> None:
        seen = sum(request.startswith(method) for request in network.requests)
        if request.startswith(method) and seen == ["first", "second", "third"].index(ordinal) + 1:
            network.before = lambda request: None
            bucket.delete("film.mp4") if body is None else fill(bucket, {"film.mp4": body})

    network.before = replace
    with pytest.raises(ObjectChanged, match=r"film\.mp4 was replaced or removed"):
        download(film, scratch)
    assert network.before is not replace
    assert os.listdir(scratch) == []  # noqa: PTH208


def test_a_changed_object_is_known_even_when_the_server_gives_no_message(
    film: VideoRef, network: Disturbance, scratch: Path
) -> None:
    network.faults.append(Fault("reply", status=412, code="PreconditionFailed", message=""))
    with pytest.raises(ObjectChanged):
        download(film, scratch)


def list_all(store: Store, local: Path) -> object:
    return store.videos("**")


def read(store: Store, local: Path) -> object:
    return store.read_bytes("a.mp4")


def publish(store: Store, local: Path) -> object:
    return store.publish(local, "out.bin")


ATTEMPTS: list[Callable[[Store, Path], object]] = [list_all, read, publish]


@pytest.mark.parametrize(
    ("status", "code", "reason", "retryable"),
    [
        (403, "AccessDenied", "denied", False),
        (403, "InvalidAccessKeyId", "denied", False),
        (403, "SignatureDoesNotMatch", "denied", False),
        (400, "ExpiredToken", "denied", False),
        (400, "AuthorizationHeaderMalformed", "invalid", False),
        (404, "NoSuchBucket", "not_found", False),
        (429, "TooManyRequests", "throttled", True),
        (503, "SlowDown", "throttled", True),
        (500, "InternalError", "unavailable", True),
        (502, "BadGateway", "unavailable", True),
    ],
)
def test_every_refusal_has_its_reason(
    bucket: Bucket,
    network: Disturbance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    code: str,
    reason: str,
    retryable: bool,
) -> None:
    monkeypatch.setattr(s3_adapter, "MAX_ATTEMPTS", 1)
    (tmp_path / "local").write_bytes(b"x")
    network.faults += [
        Fault("reply", method=method, times=ALWAYS, status=status, code=code)
        for method in ["GET", "PUT", "HEAD"]
    ]
    for attempt in ATTEMPTS:
        error = refusal(partial(attempt, open_store(bucket.uri), tmp_path / "local"))
        assert (error.reason, error.retryable) == (reason, retryable)
        assert bucket.uri in str(error)
        assert SECRET_KEY not in str(error)
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.reason, copy.retryable) == (str(error), reason, retryable)


def test_a_page_that_fails_once_does_not_shorten_the_listing(bucket: Bucket, network: Disturbance) -> None:
    fill(bucket, {f"{n:04}.mp4": b"" for n in range(1500)})
    network.faults += [
        Fault("reply", only="continuation-token", status=503, code="SlowDown"),
        Fault("close", only="continuation-token", after_bytes=50_000),
        Fault("reset", only="list-type"),
    ]
    assert len(open_store(bucket.uri).videos("*")) == 1500
    assert [fault.times for fault in network.faults] == [0, 0, 0]


def test_a_server_that_hangs_is_left_in_bounded_time(
    bucket: Bucket, network: Disturbance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(s3_adapter, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(s3_adapter, "MAX_ATTEMPTS", 2)
    bucket.put("a.mp4")
    network.faults.append(Fault("stall", times=ALWAYS))
    started_s = time.monotonic()
    for attempt in ATTEMPTS[:2]:
        error = refusal(partial(attempt, open_store(bucket.uri), tmp_path))
        assert (error.reason, error.retryable) == ("unavailable", True)
    assert time.monotonic() - started_s < patience(10)


def test_a_server_that_is_not_there_is_an_error_at_once(
    aws: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point_at(monkeypatch, Server("http://127.0.0.1:1"))
    (tmp_path / "local").write_bytes(b"x")
    started_s = time.monotonic()
    for attempt in ATTEMPTS:
        error = refusal(partial(attempt, open_store("s3://bucket"), tmp_path / "local"))
        assert (error.reason, error.retryable) == ("unavailable", True)
        assert "http://127.0.0.1:1/" in str(error)
    assert time.monotonic() - started_s < patience(10)


@pytest.mark.parametrize(
    "endpoint", ["http://someone:hush-hush@127.0.0.1:1", "http://127.0.0.1:1?token=hush-hush", "hush.hush"]
)
def test_secrets_in_an_endpoint_stay_out_of_messages(
    aws: Server, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    point_at(monkeypatch, Server(endpoint))
    error = refusal(lambda: open_store("s3://bucket").videos("*"))
    assert "hush-hush" not in str(error)
    assert error.reason in {"unavailable", "invalid"}


def test_a_failed_upload_leaves_the_old_object_whole(
    bucket: Bucket, network: Disturbance, tmp_path: Path
) -> None:
    bucket.put("film.mp4", b"old")
    (tmp_path / "local").write_bytes(FILM)
    network.faults.append(
        Fault("reply", method="PUT", only="partNumber=2", times=ALWAYS, status=500, code="InternalError")
    )
    error = refusal(lambda: open_store(bucket.uri).publish(tmp_path / "local", "film.mp4"))
    assert error.retryable
    assert bucket.get("film.mp4") == b"old"
    assert bucket.uploads() == []


@pytest.mark.parametrize("size", [1000, len(FILM)])
def test_an_upload_overcomes_a_passing_fault(
    bucket: Bucket, network: Disturbance, tmp_path: Path, size: int
) -> None:
    (tmp_path / "local").write_bytes(FILM[:size])
    network.faults += [
        Fault("reset", method="PUT"),
        Fault("reply", method="PUT", status=503, code="SlowDown"),
    ]
    open_store(bucket.uri).publish(tmp_path / "local", "film.mp4")
    assert bucket.get("film.mp4") == FILM[:size]
    assert [fault.times for fault in network.faults] == [0, 0]


def test_what_arrived_differently_is_reported(bucket: Bucket, network: Disturbance, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"mine")

    def someone_else_is_faster(request: str) -> None:
        if request.startswith("HEAD"):
            bucket.put("report.html", b"ours")

    network.before = someone_else_is_faster
    error = refusal(lambda: open_store(bucket.uri).publish(tmp_path / "local", "report.html"))
    assert (error.reason, error.retryable) == ("torn", True)
