"""Errors cross process borders whole."""

from __future__ import annotations

import pickle

import pytest

from tasks.core.errors import (
    DecodeFailed,
    HooklineError,
    ModelError,
    ObjectChanged,
    StorageError,
    VideoRefused,
)


@pytest.mark.parametrize(
    "error",
    [
        StorageError("s3://bucket/key: 503", reason="throttled", retryable=True),
        ObjectChanged("s3://bucket/key was replaced"),
        VideoRefused("no picture", stage="probe", reason="no_video_stream"),
        DecodeFailed("took too long", reason="deadline"),
        ModelError("no such folder", reason="model_unavailable"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling_with_all_it_says(error: HooklineError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
