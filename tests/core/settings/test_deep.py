"""Where analyses may be kept: what a setting says is checked before anything is opened."""

from __future__ import annotations

import pytest

from tasks.core.errors import SettingsError
from tasks.core.settings.deep import check_cache


@pytest.mark.parametrize(
    "setting",
    [
        "output",
        "off",
        "redis://localhost",
        "redis://localhost/",
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379/15",
        "rediss://cache.internal:65535",
    ],
)
def test_a_cache_is_the_output_a_redis_or_none(setting: str) -> None:
    check_cache(setting)


@pytest.mark.parametrize(
    "setting",
    [
        *["", "on", "Output", "s3://bucket/cache", "unix:///redis.sock", "REDIS://host", "redis://"],
        *["redis:///0", "redis://host:0", "redis://host:65536", "redis://host/db", "redis://host?db=1"],
        *["redis://a b", "redis://host\n"],
    ],
)
def test_what_is_no_cache_is_an_error_that_shows_the_fix(setting: str) -> None:
    with pytest.raises(SettingsError, match=r"write output, off, or redis://host:port/0") as caught:
        check_cache(setting)
    assert repr(setting) in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        "redis://:s3cret@host:6379/0",
        "rediss://me:s3cret@host",
        "me:s3cret@host",
        "redis://host/0?password=s3cret",
        "redis://host?username=s3cret",
    ],
)
def test_a_cache_with_credentials_is_refused_without_repeating_them(setting: str) -> None:
    with pytest.raises(SettingsError, match=r"set HOOKLINE_REDIS_PASSWORD") as caught:
        check_cache(setting)
    assert "s3cret" not in str(caught.value)
