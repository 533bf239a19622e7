"""Stores of other vendors, as they answer: what one of them refuses costs a request, not the run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage import s3 as s3_adapter
from tasks.adapters.storage import store as store_adapter
from tasks.core.errors import SettingsError, StorageError
from tests.s3 import BLOCK, Bucket, Disturbance, Fault, Server

pytest_plugins = ["tests.s3"]
pytestmark = pytest.mark.usefixtures("small_blocks")

ALWAYS = 10**6
WRITES = "PUT|POST"


@pytest.fixture(autouse=True)
def _every_store_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_adapter, "_opaque_etags", set())


def refusing(header: str, status: int, code: str, **how: str) -> Fault:
    """A store that refuses whatever is sent with a header."""
    return Fault("reply", method=WRITES, only=header, times=ALWAYS, status=status, code=code, **how)  # type: ignore[arg-type]


def write_small(store: Store, local: Path) -> object:
    return store.write_bytes("a.json", b"{}")


def publish(store: Store, local: Path) -> object:
    return store.publish(local, "a.bin")


def publish_large(store: Store, local: Path) -> object:
    local.write_bytes(os.urandom(3 * BLOCK))
    return store.publish(local, "large.bin")


def update(store: Store, local: Path) -> object:
    return store.update("count", lambda current: str(int(current or b"0") + 1).encode())


WRITERS = [write_small, publish, publish_large, update]
CHECKSUM_REFUSALS = [
    (501, "NotImplemented"),
    (400, "InvalidArgument"),
    (400, "XAmzContentSHA256Mismatch"),
    (403, "SignatureDoesNotMatch"),
    (411, "MissingContentLength"),
    (500, "InternalError"),
]


@pytest.mark.parametrize(("status", "code"), CHECKSUM_REFUSALS)
def test_checksums_that_a_store_refuses_are_left_out_from_then_on(
    bucket: Bucket, network: Disturbance, tmp_path: Path, status: int, code: str
) -> None:
    network.faults.append(refusing("x-amz-checksum-", status, code))
    (tmp_path / "local").write_bytes(b"film")
    store = open_store(bucket.uri)
    publish(store, tmp_path / "local")
    assert bucket.get("a.bin") == b"film"
    network.requests.clear()
    update(store, tmp_path / "local")
    update(store, tmp_path / "local")
    assert bucket.get("count") == b"2"
    puts = [request for request in network.requests if request.startswith("PUT")]
    assert [("checksum" in put, "if-" in put.lower()) for put in puts] == [(False, True)] * 2


@pytest.mark.parametrize("write", WRITERS)
def test_the_first_write_finds_out_about_checksums_whatever_it_is(
    bucket: Bucket, network: Disturbance, tmp_path: Path, write: Callable[[Store, Path], object]
) -> None:
    network.faults.append(refusing("checksum", 501, "NotImplemented"))
    (tmp_path / "local").write_bytes(b"film")
    write(open_store(bucket.uri), tmp_path / "local")
    assert len(bucket.names()) == 1
    assert bucket.uploads() == []


def test_a_write_that_is_refused_for_another_reason_leaves_checksums_on(
    bucket: Bucket, network: Disturbance, tmp_path: Path
) -> None:
    (tmp_path / "local").write_bytes(b"film")
    network.faults.append(Fault("reply", method="PUT", times=2, status=403, code="AccessDenied"))
    with pytest.raises(StorageError, match="AccessDenied"):
        publish(open_store(bucket.uri), tmp_path / "local")
    network.requests.clear()
    publish(open_store(bucket.uri), tmp_path / "local")
    assert "x-amz-checksum-" in network.requests[0]


CONDITION_REFUSALS = [
    (501, "NotImplemented"),
    (400, "InvalidArgument"),
    (400, "InvalidRequest"),
    (403, "AccessDenied"),
    (405, "MethodNotAllowed"),
    (422, "UnprocessableEntity"),
    (500, "InternalError"),
]


@pytest.mark.parametrize(("status", "code"), CONDITION_REFUSALS)
def test_a_store_without_conditional_writes_is_written_to_without(
    bucket: Bucket, network: Disturbance, tmp_path: Path, status: int, code: str
) -> None:
    network.faults += [refusing("If-None-Match", status, code), refusing("If-Match", status, code)]
    for _ in range(2):
        update(open_store(bucket.uri), tmp_path)
    assert bucket.get("count") == b"2"
    assert "x-amz-checksum-" in network.requests[-1]


@pytest.mark.parametrize("status", [304, 404, 409, 412])
def test_a_store_that_calls_every_condition_unmet_is_written_to_in_the_end(
    bucket: Bucket, network: Disturbance, tmp_path: Path, status: int
) -> None:
    network.faults.append(refusing("If-None-Match", status, "PreconditionFailed"))
    update(open_store(bucket.uri), tmp_path)
    assert bucket.get("count") == b"1"


def test_a_store_may_refuse_both(bucket: Bucket, network: Disturbance, tmp_path: Path) -> None:
    network.faults += [
        refusing(header, 400, "InvalidArgument") for header in ("If-None-Match", "If-Match", "checksum")
    ]
    for _ in range(2):
        update(open_store(bucket.uri), tmp_path)
    assert bucket.get("count") == b"2"


@pytest.mark.parametrize(
    ("status", "code", "reason"), [(403, "AccessDenied", "denied"), (400, "InvalidArgument", "invalid")]
)
def test_a_write_that_is_wrong_in_itself_is_an_error(
    bucket: Bucket, network: Disturbance, tmp_path: Path, status: int, code: str, reason: str
) -> None:
    network.faults.append(Fault("reply", method="PUT", times=ALWAYS, status=status, code=code))
    with pytest.raises(StorageError) as caught:
        update(open_store(bucket.uri), tmp_path)
    assert (caught.value.reason, caught.value.retryable) == (reason, False)
    assert f"{code}: as told" in str(caught.value)


@pytest.mark.parametrize("method", ["GET", "HEAD|GET", "PUT"])
def test_an_error_repeats_what_the_store_says(bucket: Bucket, network: Disturbance, method: str) -> None:
    bucket.put("a.mp4")
    [video] = open_store(bucket.uri).videos("*")
    network.faults.append(
        Fault(
            "reply",
            method=method,
            times=ALWAYS,
            status=400,
            code="ExpiredToken",
            message="<Message>It is\n over.</Message>",
        )
    )
    attempts: dict[str, list[Callable[[], object]]] = {
        "GET": [
            lambda: open_store(bucket.uri).videos("*"),
            lambda: open_store(bucket.uri).read_bytes("a.mp4"),
        ],
        "HEAD|GET": [lambda: open_store(video.uri).file(), lambda: open_store(bucket.uri).exists("a.mp4")],
        "PUT": [lambda: open_store(bucket.uri).write_bytes("a", b"")],
    }
    for attempt in attempts[method]:
        with pytest.raises(StorageError, match=r"the store answered ExpiredToken: It is over \(denied\)"):
            attempt()


def test_a_page_of_a_proxy_is_no_message(bucket: Bucket, network: Disturbance) -> None:
    network.faults.append(
        Fault("reply", times=ALWAYS, status=413, code="", message="<html><body><h1>nginx</h1></body></html>")
    )
    with pytest.raises(StorageError, match=r"the store answered 413") as caught:
        open_store(bucket.uri).read_bytes("a")
    assert "<html>" not in str(caught.value)


def test_a_bucket_whose_readers_pay_is_read_and_written(
    bucket: Bucket, network: Disturbance, aws: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.put("in/a.mp4", b"film")
    network.faults.append(
        Fault(
            "reply", method="GET|HEAD|PUT|POST|DELETE", unless="x-amz-request-payer: requester", times=ALWAYS,
            status=403, code="AccessDenied",
        )
    )  # fmt: skip
    store = open_store(bucket.uri)
    with pytest.raises(StorageError, match="AWS_REQUEST_PAYER"):
        store.videos("**")
    s3_adapter.close_connections()
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    [video] = store.videos("**")
    store.download(video, tmp_path / "got")
    publish_large(store, tmp_path / "local")
    for write in (write_small, update, update):
        write(store, tmp_path)
    store.remove("a.json")
    store.remove_parts()
    assert (tmp_path / "got").read_bytes() == store.read_bytes("in/a.mp4") == b"film"


def test_a_payer_that_nobody_knows_is_an_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_adapter.close_connections()
    monkeypatch.setenv("AWS_REQUEST_PAYER", "me")
    with pytest.raises(SettingsError, match="AWS_REQUEST_PAYER is 'me': write requester"):
        open_store(bucket.uri).videos("**")


def disguise(network: Disturbance, body: bytes) -> None:
    """The store's ETag of a body is another MD5."""
    digest = hashlib.md5(body).hexdigest().encode()
    network.aliases[digest] = hashlib.md5(digest).hexdigest().encode()


def test_etags_that_only_look_like_md5_cost_one_more_read(
    bucket: Bucket, network: Disturbance, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        bucket.put(name, name.encode() * 1000)
        disguise(network, name.encode() * 1000)
    disguise(network, b"local")
    (tmp_path / "local").write_bytes(b"local")
    store = open_store(bucket.uri)
    gets = []
    for video in store.videos("*"):
        store.download(video, tmp_path / video.name)
        assert (tmp_path / video.name).read_bytes() == video.name.encode() * 1000
        gets.append(sum(request.startswith(f"GET /{bucket.name}/") for request in network.requests))
    assert gets == [2, 3]
    publish(store, tmp_path / "local")
    assert bucket.get("a.bin") == b"local"


def test_a_file_that_arrives_is_compared_by_reading_it_where_its_etag_is_none(
    bucket: Bucket, network: Disturbance, tmp_path: Path
) -> None:
    disguise(network, b"local")
    (tmp_path / "local").write_bytes(b"local")
    publish(open_store(bucket.uri), tmp_path / "local")
    assert any(request.startswith(f"GET /{bucket.name}/a.bin") for request in network.requests)


def test_bytes_that_come_differently_each_time_are_not_taken(
    bucket: Bucket, network: Disturbance, tmp_path: Path
) -> None:
    bucket.put("a.mp4", b"film")
    [video] = open_store(bucket.uri).videos("*")

    def garble_the_first(request: str) -> None:
        network.aliases[b"film"] = b"fi1m" if request.startswith("GET") else b"film"
        if request.startswith("GET"):
            network.before = lambda request: network.aliases.clear()

    network.before = garble_the_first
    with pytest.raises(StorageError) as caught:
        open_store(bucket.uri).download(video, tmp_path / "got")
    assert (caught.value.reason, caught.value.retryable) == ("torn", True)
    assert not (tmp_path / "got").exists()


def test_a_store_that_knows_no_checksums_at_all_is_read_and_written(
    bucket: Bucket, network: Disturbance, tmp_path: Path
) -> None:
    network.faults.append(
        Fault("reply", method="GET|HEAD|PUT|POST", only="x-amz-checksum-", times=ALWAYS, status=400, code="X")
    )
    bucket.put("in/a.mp4", b"film")
    store = open_store(bucket.uri)
    [video] = store.videos("**")
    store.download(video, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == store.read_bytes("in/a.mp4") == b"film"
    for write in WRITERS:
        write(store, tmp_path / "got")


def test_the_region_is_that_of_the_environment(
    bucket: Bucket, network: Disturbance, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_adapter.close_connections()
    monkeypatch.setenv("AWS_REGION", "garage")
    open_store(bucket.uri).names()
    assert "/garage/s3/aws4_request" in network.requests[-1]
