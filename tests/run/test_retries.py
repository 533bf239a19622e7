"""What can pass is tried again; what cannot is not."""

from __future__ import annotations

import pytest

from tasks.core.errors import ModelError, ObjectChanged, SettingsError, StorageError
from tasks.run.retries import is_transient


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StorageError("503", reason="throttled"), True),
        (StorageError("403", reason="denied", retryable=False), False),
        (ObjectChanged("replaced"), False),
        (SettingsError("no such head"), False),
        (ModelError("no weights"), False),
        (ConnectionResetError("reset"), True),
    ],
    ids=repr,
)
def test_whether_an_error_may_pass(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected
