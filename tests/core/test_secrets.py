"""No URI with a secret is accepted as a setting, and none is shown in a message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.core.errors import SettingsError
from tasks.core.secrets import check_no_secret, redacted
from tasks.core.settings import Settings
from tasks.core.uris import split_uri

WITH_SECRETS = [
    "s3://AKIA123:hush-hush@bucket/videos",
    "s3://hush-hush@bucket",
    "https://user:hush-hush@huggingface.co/some/model",
    "https://bucket.s3.amazonaws.com/a?X-Amz-Credential=AKIA&X-Amz-Signature=hush-hush",
    "s3://bucket/a?versionId=3&X-Amz-Security-Token=hush-hush",
    "https://blob.example/a?sv=2024&sig=hush-hush",
    "https://bucket.s3.amazonaws.com/a?AWSAccessKeyId=AKIA&Signature=hush-hush&Expires=1",
    "s3://AKIAEXAMPLE:hush-hush/cret@bucket/x",
    "s3://AKIAEXAMPLE:se/hush-hush@bucket/x",
    "http://me:p@hush-hush@host/a.mp4",
    "redis://:se/hush-hush@cache:6379/0",
]
WITHOUT = [
    "s3://bucket/videos",
    "s3://bucket/me@home.mp4",
    "s3://bucket/a:b@c.mp4",
    "https://host:8080/me@home.mp4",
    "file:///videos/a@2x.mp4",
    "s3://bucket/me@work/a?b.mp4",
    "s3://bucket/why?monkey.mp4",
    "/home/me@work/what?/videos",
    "DAMO-NLP-SG/VideoLLaMA3-2B",
    "**/*.{mp4,mov}",
    "redis://host:6379/0",
]


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_a_secret_is_refused_and_not_repeated(text: str) -> None:
    for check in (check_no_secret, split_uri):
        with pytest.raises(SettingsError, match="AWS_PROFILE") as caught:
            check(text)
        assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize("text", WITH_SECRETS)
@pytest.mark.parametrize(
    "path", ["source", "output", "fast.model", "fast.head", "deep.model", "deep.revision"]
)
def test_a_secret_in_any_setting_is_refused_and_not_repeated(text: str, path: str) -> None:
    group, _, field = path.rpartition(".")
    given: dict[str, Any] = {"source": "videos", "output": "out"}
    given |= {group: {field: text}} if group else {field: text}
    with pytest.raises(ValidationError, match="published with every run") as caught:
        Settings.model_validate(given)
    assert "hush-hush" not in str(caught.value)
    assert path.rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize("text", WITHOUT)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    check_no_secret(text)
    assert redacted(text) == text


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_what_is_shown_has_no_secret_and_says_where(text: str) -> None:
    shown = redacted(f'Could not connect to "{text}", gave up. {text}')
    assert "hush-hush" not in shown
    assert shown.count("***") == 2
    assert "gave up" in shown


@given(st.text(st.characters(exclude_characters="?\"'<> \t\r\n", exclude_categories=("Z", "C")), min_size=1))
def test_no_password_whatever_is_shown(password: str) -> None:
    secret = f"marker{password}"
    assert "marker" not in redacted(f"GET s3://key:{secret}@bucket/name failed")
    with pytest.raises(SettingsError):
        check_no_secret(f"s3://key:{secret}@bucket/name")
