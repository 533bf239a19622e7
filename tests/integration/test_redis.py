"""The analysis cache on a real Redis."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.adapters.storage.analysis_cache import (
    AnalysisCache,
    RedisValues,
    open_analysis_cache,
    redis_client,
)
from tasks.core.errors import StorageError
from tasks.core.records import Analysis, Answer
from tasks.core.scoring.analyses import analysis_json
from tests.library import quick_settings
from tests.media import numbered_video
from tests.waiting import patience

if TYPE_CHECKING:
    from tests.integration.conftest import RedisServer

pytestmark = pytest.mark.integration

StartRedis = Callable[..., "RedisServer"]

ANALYSIS = Analysis.ok(Answer(72, 60, 50, ("視頻",), (), "It builds up.", "Publish."), expected_score=71.5)
OTHER = replace(ANALYSIS, expected_score=3.25)
KEYS = [f"{n:02x}" * 32 for n in range(40)]


def opened(server: RedisServer) -> AnalysisCache:
    cache = open_analysis_cache(server.url, "unused")
    assert cache is not None
    return cache


def reason_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(StorageError, match=r"Redis at 127\.0\.0\.1:\d+: ") as caught:
        attempt()
    assert "s3cret" not in str(caught.value)
    return caught.value.reason


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_kept_is_found_by_its_key(start_redis: StartRedis, caplog: pytest.LogCaptureFixture) -> None:
    server = start_redis()
    cache = opened(server)
    assert cache.get_many(KEYS) == {}
    for key in KEYS[1:]:
        cache.put(key, OTHER)
        cache.put(key, ANALYSIS)
    assert opened(server).get_many(KEYS) == dict.fromkeys(KEYS[1:], ANALYSIS)
    client = redis_client(server.url)
    assert client.get(f"hookline:analysis:{KEYS[1]}") == analysis_json(ANALYSIS)
    assert client.ttl(f"hookline:analysis:{KEYS[1]}") == -1
    assert client.dbsize() == 39
    assert warnings(caplog) == []


def test_a_broken_record_is_a_miss_and_is_replaced(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis()
    redis_client(server.url).set(f"hookline:analysis:{KEYS[0]}", b"\x80\x04N.")
    cache = opened(server)
    assert cache.get_many(KEYS) == {}
    assert [KEYS[0] in warning for warning in warnings(caplog)] == [True]
    cache.put(KEYS[0], ANALYSIS)
    assert cache.get_many(KEYS) == {KEYS[0]: ANALYSIS}


def test_databases_are_apart(start_redis: StartRedis) -> None:
    server = start_redis()
    opened(server).put(KEYS[0], ANALYSIS)
    elsewhere = server.url.removesuffix("/0") + "/1"
    assert RedisValues(elsewhere).get(KEYS[0]) is None
    assert RedisValues(server.url.removesuffix("/0")).get(KEYS[0]) == analysis_json(ANALYSIS)
    assert reason_of(lambda: RedisValues(elsewhere + "00").get(KEYS[0])) == "invalid"


def test_the_password_comes_from_the_environment(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = RedisValues(start_redis("--requirepass", "s3cret").url)
    assert reason_of(lambda: objects.get(KEYS[0])) == "denied"
    monkeypatch.setenv("HOOKLINE_REDIS_PASSWORD", "wrong")
    redis_client.cache_clear()
    assert reason_of(lambda: objects.get(KEYS[0])) == "denied"
    for n, ending in enumerate(("", "\n")):  # as files of secrets end
        monkeypatch.setenv("HOOKLINE_REDIS_PASSWORD", f"s3cret{ending}")
        redis_client.cache_clear()
        objects.put(KEYS[n], b"content")
        assert objects.get(KEYS[n]) == b"content"


def test_a_user_who_may_only_read_finds_and_keeps_nothing(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis()
    opened(server).put(KEYS[0], ANALYSIS)
    redis_client(server.url).acl_setuser(
        "reader", enabled=True, passwords=["+s3cret"], keys=["hookline:*"], commands=["+get"]
    )
    redis_client.cache_clear()
    monkeypatch.setenv("HOOKLINE_REDIS_USERNAME", "reader")
    monkeypatch.setenv("HOOKLINE_REDIS_PASSWORD", "s3cret")
    cache = opened(server)
    for key in KEYS:
        cache.put(key, OTHER)
    assert cache.get_many(KEYS) == {KEYS[0]: ANALYSIS}
    [warning] = warnings(caplog)
    assert "not written to" in warning
    assert "HOOKLINE_REDIS_PASSWORD" in warning
    assert "s3cret" not in warning


def test_a_full_redis_is_still_read(start_redis: StartRedis, caplog: pytest.LogCaptureFixture) -> None:
    server = start_redis()
    cache = opened(server)
    cache.put(KEYS[0], ANALYSIS)
    redis_client(server.url).config_set("maxmemory", 1)
    for key in KEYS[1:]:
        cache.put(key, ANALYSIS)
    assert cache.get_many(KEYS) == {KEYS[0]: ANALYSIS}
    assert reason_of(lambda: RedisValues(server.url).put(KEYS[1], b"x")) == "no_space"
    [warning] = warnings(caplog)
    assert "Give it more memory" in warning


def test_a_redis_that_ends_is_one_warning(start_redis: StartRedis, caplog: pytest.LogCaptureFixture) -> None:
    server = start_redis()
    cache = opened(server)
    cache.put(KEYS[0], ANALYSIS)
    server.stop()
    assert cache.get_many(KEYS) == {}
    cache.put(KEYS[1], ANALYSIS)
    [warning] = warnings(caplog)
    assert "not used for 60 s" in warning
    assert reason_of(lambda: RedisValues(server.url).get(KEYS[0])) == "unavailable"


def test_a_redis_that_came_back_is_used_again(start_redis: StartRedis) -> None:
    server = start_redis()
    objects = RedisValues(server.url)
    objects.put(KEYS[0], b"before")
    redis_client(server.url).client_kill_filter(_type="normal", skipme=False)
    objects.put(KEYS[0], b"after")
    assert objects.get(KEYS[0]) == b"after"


def test_two_writers_of_one_key_do_no_harm(start_redis: StartRedis, caplog: pytest.LogCaptureFixture) -> None:
    server = start_redis()

    def write(_: int) -> None:
        cache = opened(server)
        for _ in range(50):
            cache.put(KEYS[0], ANALYSIS)
            cache.put(KEYS[0], OTHER)

    opened(server).put(KEYS[0], ANALYSIS)
    with ThreadPoolExecutor(4) as pool:
        written = pool.map(write, range(4))
        seen = [opened(server).get_many(KEYS[:1]) for _ in range(50)]
        list(written)
    assert all(found in ({KEYS[0]: ANALYSIS}, {KEYS[0]: OTHER}) for found in seen)
    assert warnings(caplog) == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_connects_anew(start_redis: StartRedis) -> None:
    objects = RedisValues(start_redis().url)
    objects.put(KEYS[0], b"content")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(objects.get, (KEYS[0],)).get(timeout=patience(30)) == b"content"
    assert objects.get(KEYS[0]) == b"content"


@pytest.mark.usefixtures("prefect")
def test_a_run_keeps_its_analyses_in_redis_and_the_next_one_takes_them(
    start_redis: StartRedis, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.rank_videos import rank_videos

    server = start_redis("--requirepass", "s3cret")
    monkeypatch.setenv("HOOKLINE_REDIS_PASSWORD", "s3cret")
    (tmp_path / "videos").mkdir()
    numbered_video(tmp_path / "videos" / "one.mp4", seconds=9)
    counts = []
    for output in ("first", "second"):
        settings = quick_settings(
            tmp_path / "videos", tmp_path / output, demo_models, deep={"cache": server.url}
        )
        counts.append(rank_videos(settings)["counts"])
    assert [(each["ranked"], each["candidates"], each["cached"]) for each in counts] == [(1, 3, 0), (1, 3, 3)]
    assert not (tmp_path / "second" / "analyses").exists()
