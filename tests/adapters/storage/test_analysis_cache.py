"""The analysis cache saves work, and whatever happens to it costs no more than that work."""

from __future__ import annotations

import logging
import pickle
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.adapters.storage import analysis_cache, open_store, record_cache
from tasks.adapters.storage.analysis_cache import (
    AnalysisCache,
    open_analysis_cache,
    redis_client,
)
from tasks.adapters.storage.record_cache import StoreValues
from tasks.core.errors import SettingsError, StorageError
from tasks.core.records import Analysis, Answer
from tasks.core.scoring.analyses import analysis_json
from tests.s3 import Bucket, Disturbance, Fault
from tests.waiting import patience

pytest_plugins = ["tests.s3"]

ANALYSIS = Analysis.ok(
    Answer(72, 60, 50, ("surprise",), (), "It builds up.", "Publish."), expected_score=71.5
)
OTHER = replace(ANALYSIS, expected_score=3.25)
KEYS = [f"{n:02x}" * 32 for n in range(20)]


class Memory:
    """KeyValueStore in a dict, and a store that fails as it is told to."""

    def __init__(self, *, get: StorageError | None = None, put: StorageError | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.get_error, self.put_error = get, put
        self.calls: list[str] = []

    def get(self, key: str) -> bytes | None:
        self.calls.append("get")
        if self.get_error:
            raise self.get_error
        return self.objects.get(key)

    def put(self, key: str, content: bytes) -> None:
        self.calls.append("put")
        if self.put_error:
            raise self.put_error
        self.objects[key] = content


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        return f"{bucket.uri}/out"
    return str(tmp_path / "out")


@pytest.fixture(autouse=True)
def _no_redis_is_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ["HOOKLINE_REDIS_PASSWORD", "HOOKLINE_REDIS_USERNAME"]:
        monkeypatch.delenv(name, raising=False)
    yield
    redis_client.cache_clear()


def opened(setting: str, output: str) -> AnalysisCache:
    cache = open_analysis_cache(setting, output)
    assert cache is not None
    return cache


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name != "werkzeug"]  # the S3 server of the tests
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def test_what_is_kept_is_found_by_its_key(output: str) -> None:
    cache = opened("output", output)
    assert cache.get_many(KEYS) == {}
    cache.put(KEYS[0], ANALYSIS)
    cache.put(KEYS[1], OTHER)
    assert cache.get_many([]) == {}
    assert opened("output", output).get_many([*KEYS, *KEYS]) == {KEYS[0]: ANALYSIS, KEYS[1]: OTHER}
    assert open_store(output).names() == [f"analyses/{key[:2]}/{key}.json" for key in KEYS[:2]]
    assert open_store(output).read_bytes(f"analyses/00/{KEYS[0]}.json") == analysis_json(ANALYSIS)


def test_keeping_again_replaces(output: str) -> None:
    cache = opened("output", output)
    for analysis in [OTHER, ANALYSIS]:
        cache.put(KEYS[0], analysis)
        assert cache.get_many(KEYS) == {KEYS[0]: analysis}


def test_off_is_no_cache(tmp_path: Path) -> None:
    assert open_analysis_cache("off", str(tmp_path)) is None


def test_another_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no analysis cache"):
        open_analysis_cache("memcached://host", str(tmp_path))


@pytest.mark.parametrize("analysis", [Analysis.failed("out_of_memory", "why"), Analysis.skipped("disabled")])
def test_what_has_no_answer_is_not_kept(analysis: Analysis, caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    AnalysisCache(memory).put(KEYS[0], analysis)
    assert memory.calls == warnings(caplog) == []


def test_what_cannot_be_written_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    AnalysisCache(memory).put(KEYS[0], replace(ANALYSIS, expected_score=101.0))
    assert memory.calls == []
    assert [KEYS[0] in warning for warning in warnings(caplog)] == [True]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps(ANALYSIS),
        analysis_json(ANALYSIS).replace(b"72", b"720"),
        analysis_json(ANALYSIS)[:-10],
        bytes(2**20),
    ],
    ids=["empty", "garbage", "pickle", "tampered", "torn", "large"],
)
def test_a_broken_record_is_a_miss_and_is_replaced(
    output: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache = opened("output", output)
    cache.put(KEYS[1], ANALYSIS)
    open_store(output).write_bytes(f"analyses/00/{KEYS[0]}.json", content)
    assert cache.get_many(KEYS) == {KEYS[1]: ANALYSIS}
    assert [KEYS[0] in warning for warning in warnings(caplog)] == [True]
    cache.put(KEYS[0], OTHER)
    assert cache.get_many(KEYS[:1]) == {KEYS[0]: OTHER}


def test_two_writers_of_one_key_do_no_harm(output: str, caplog: pytest.LogCaptureFixture) -> None:
    writers = [opened("output", output) for _ in range(4)]
    stop = threading.Event()

    def write(writer: AnalysisCache) -> None:
        while not stop.is_set():
            writer.put(KEYS[0], ANALYSIS)
            writer.put(KEYS[0], OTHER)

    writers[0].put(KEYS[0], ANALYSIS)
    with ThreadPoolExecutor(4) as pool:
        written = [pool.submit(write, writer) for writer in writers]
        seen = [opened("output", output).get_many(KEYS[:1]) for _ in range(50)]
        stop.set()
        for each in written:
            each.result()
    assert all(found in ({KEYS[0]: ANALYSIS}, {KEYS[0]: OTHER}) for found in seen)
    assert open_store(output).names() == [f"analyses/00/{KEYS[0]}.json"]
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("reason", "how_long"),
    [
        ("unavailable", "for 60 s"),
        ("torn", "for 60 s"),
        ("denied", "from here on"),
        ("no_credentials", "from here on"),
        ("invalid", "from here on"),
    ],
)
def test_a_store_that_cannot_be_read_is_left_alone(
    reason: str, how_long: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory(get=StorageError("why and what to do", reason=reason))
    cache = AnalysisCache(memory)
    assert cache.get_many(KEYS) == {}
    calls = len(memory.calls)
    assert calls <= record_cache.READ_THREADS
    cache.put(KEYS[0], ANALYSIS)
    assert cache.get_many(KEYS) == {}
    assert len(memory.calls) == calls
    assert warnings(caplog) == [f"The analysis cache is not used {how_long}. why and what to do"]


def test_a_store_that_is_back_is_used_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(record_cache, "PAUSE_S", 0.05)
    memory = Memory(get=StorageError("gone"))
    memory.objects[KEYS[0]] = analysis_json(ANALYSIS)
    cache = AnalysisCache(memory)
    assert cache.get_many(KEYS[:1]) == {}
    memory.get_error = None
    time.sleep(0.06)
    assert cache.get_many(KEYS[:1]) == {KEYS[0]: ANALYSIS}
    cache.put(KEYS[1], OTHER)
    assert cache.get_many(KEYS[1:2]) == {KEYS[1]: OTHER}
    assert len(warnings(caplog)) == 1


def test_a_store_that_does_not_come_back_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(record_cache, "PAUSE_S", 0.01)
    memory = Memory(get=StorageError("gone"))
    cache = AnalysisCache(memory)
    for _ in range(10):
        assert cache.get_many(KEYS[:1]) == {}
        time.sleep(0.02)
    assert memory.calls == ["get"] * (record_cache.PAUSES + 1)
    assert [warning.split(". ")[0].split("used ")[1] for warning in warnings(caplog)] == [
        "for 0.01 s",
        "for 0.01 s",
        "for 0.01 s",
        "from here on",
    ]


def test_what_was_found_before_a_store_failed_is_returned() -> None:
    others_read = threading.Semaphore(0)

    class Breaks(Memory):
        def get(self, key: str) -> bytes | None:
            if key == KEYS[-1]:
                for _ in KEYS[:-1]:
                    others_read.acquire(timeout=patience(10))
                raise StorageError("gone")
            others_read.release()
            return super().get(key)

    memory = Breaks()
    memory.objects = dict.fromkeys(KEYS, analysis_json(ANALYSIS))
    assert AnalysisCache(memory).get_many(KEYS) == dict.fromkeys(KEYS[:-1], ANALYSIS)


@pytest.mark.parametrize(
    ("reason", "is_read", "says"),
    [
        ("unavailable", False, "not used for 60 s"),
        ("throttled", False, "not used for 60 s"),
        ("denied", True, "not written to from here on"),
        ("no_space", True, "not written to from here on"),
        ("not_found", True, "not written to from here on"),
    ],
)
def test_a_store_that_only_refuses_writes_is_still_read(
    reason: str, is_read: bool, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory(put=StorageError("why", reason=reason))
    memory.objects[KEYS[0]] = analysis_json(ANALYSIS)
    cache = AnalysisCache(memory)
    for key in KEYS:
        cache.put(key, OTHER)
    assert memory.calls == ["put"]
    assert cache.get_many(KEYS) == ({KEYS[0]: ANALYSIS} if is_read else {})
    assert warnings(caplog) == [f"The analysis cache is {says}. why"]


def test_a_bucket_out_of_reach_is_one_warning(
    network: Disturbance, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    network.faults = [Fault("reply", times=10**6, status=403, code="AccessDenied")]
    cache = opened("output", f"{bucket.uri}/out")
    assert cache.get_many(KEYS) == {}
    cache.put(KEYS[0], ANALYSIS)
    assert bucket.names() == []
    [warning] = warnings(caplog)
    assert "Check that the credentials" in warning


def test_a_missing_bucket_is_one_warning(aws: object, caplog: pytest.LogCaptureFixture) -> None:
    cache = opened("output", "s3://no-such-bucket/out")
    assert cache.get_many(KEYS) == {}
    for key in KEYS:
        cache.put(key, ANALYSIS)
    [warning] = warnings(caplog)
    assert "NoSuchBucket" in warning


def test_writing_reports_what_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "analyses").write_bytes(b"a file, where a folder should be")
    with pytest.raises(StorageError, match=r"analyses/00/.*\(invalid\)"):
        StoreValues(open_store(str(tmp_path)), "analyses").put(KEYS[0], b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["analyses"]


def test_a_redis_out_of_reach_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        cache = opened(f"redis://{place}/0", "unused")
        assert cache.get_many(KEYS) == {}
        cache.put(KEYS[0], ANALYSIS)
    [warning] = warnings(caplog)
    assert warning.startswith(f"The analysis cache is not used for 60 s. Redis at {place}: ")
    assert "Check that it runs" in warning


class Repeats(socketserver.StreamRequestHandler):
    """A server that is no Redis and repeats in its refusal all it was told, as old ones do."""

    def handle(self) -> None:
        told = b" ".join(self.rfile.readline().strip() for _ in range(11))
        self.wfile.write(b"-ERR unknown command, with args beginning with: " + told + b"\r\n")


def test_a_password_is_sent_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKLINE_REDIS_PASSWORD", "s3cret")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Repeats) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        objects = analysis_cache.RedisValues(f"redis://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(StorageError, match=r"AUTH .*\*\*\*") as caught:
            objects.get(KEYS[0])
        server.shutdown()
        thread.join()
    assert "s3cret" not in str(caught.value)
    assert caught.value.reason == "invalid"
    assert caught.value.__suppress_context__
