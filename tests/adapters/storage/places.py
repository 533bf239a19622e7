"""A folder and a bucket as another program sees them.

PYTEST_DONT_REWRITE: loaded as a plugin by the test modules that want the fixture `place`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest

from tests.s3 import Bucket


class Place(Protocol):
    """Where a store is, seen past Hookline."""

    @property
    def uri(self) -> str: ...
    def put(self, key: str, body: bytes = b"x") -> None: ...
    def get(self, key: str) -> bytes: ...
    def delete(self, key: str) -> None: ...
    def names(self) -> list[str]: ...


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"file://{path}"

    def put(self, key: str, body: bytes = b"x") -> None:
        path = self.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        # Written twice within one tick of the clock, a file would keep its time.
        os.utime(path, ns=(0, path.stat().st_mtime_ns + int.from_bytes(os.urandom(3))))

    def get(self, key: str) -> bytes:
        return (self.path / key).read_bytes()

    def delete(self, key: str) -> None:
        (self.path / key).unlink()

    def names(self) -> list[str]:
        return [str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file()]


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        return bucket
    (tmp_path / "store").mkdir()
    return Folder(tmp_path / "store")
