"""A hash is remembered for as long as its file is the same, and never for longer."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.adapters.models import file_hashes
from tasks.adapters.models.file_hashes import SETTLED_S, file_sha256

CONTENT, OTHER = b"a" * 1000, b"b" * 1000


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A large file, with a cache folder of its own; it is an hour later."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "LARGE_BYTES", len(CONTENT))
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    later(monkeypatch, 3600)
    return file


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(file_hashes, "time", SimpleNamespace(time=lambda: time.time() + seconds))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content was read."""
    names: list[str] = []

    def watched(path: Path, original: Callable[[Path], str] = file_hashes._hashed) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(file_hashes, "_hashed", watched)
    return names


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_large_file_is_read_once(weights: Path, hashed: list[str]) -> None:
    assert [file_sha256(weights) for _ in range(3)] == [sha256(CONTENT)] * 3
    assert hashed == [weights.name]


def replaced(weights: Path) -> None:
    other = weights.with_name("other")
    other.write_bytes(OTHER)
    keep_times(weights, other)
    other.replace(weights)


def rewritten(weights: Path) -> None:
    before = weights.stat()
    weights.write_bytes(OTHER)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def grown(weights: Path) -> None:
    weights.write_bytes(CONTENT + b"!")


def keep_times(source: Path, target: Path) -> None:
    stat = source.stat()
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced, rewritten, grown])
def test_a_changed_file_is_read_again_even_with_its_old_size_and_time(
    weights: Path, change: Callable[[Path], None]
) -> None:
    file_sha256(weights)
    change(weights)
    assert file_sha256(weights) == sha256(weights.read_bytes()) != sha256(CONTENT)


@pytest.mark.parametrize("seconds", [0, SETTLED_S - 1, -3600], ids=["now", "just now", "in the future"])
def test_a_file_that_was_just_written_is_read_each_time(
    weights: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(weights.parent / "cache"))
    monkeypatch.setattr(file_hashes, "LARGE_BYTES", 1)
    later(monkeypatch, seconds)
    file_sha256(weights)
    assert not (weights.parent / "cache").exists()


def test_a_file_that_is_written_while_it_is_read_is_not_remembered(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = file_hashes._hashed

    def meanwhile(path: Path) -> str:
        found = original(path)
        path.write_bytes(OTHER)
        return found

    monkeypatch.setattr(file_hashes, "_hashed", meanwhile)
    file_sha256(weights)
    monkeypatch.setattr(file_hashes, "_hashed", original)
    assert file_sha256(weights) == sha256(OTHER)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": "short"}', b"\xff"])
def test_a_broken_record_is_replaced(weights: Path, content: bytes) -> None:
    file_sha256(weights)
    (record,) = (weights.parent / "cache").rglob("*.json")
    whole = record.read_bytes()
    record.write_bytes(content)
    assert file_sha256(weights) == sha256(CONTENT)
    assert json.loads(record.read_bytes()) == json.loads(whole)


def test_without_a_cache_folder_it_is_worked_out(weights: Path) -> None:
    (weights.parent / "cache").write_text("not a folder")
    assert file_sha256(weights) == sha256(CONTENT)


def test_runs_side_by_side_leave_one_whole_record(weights: Path) -> None:
    with ThreadPoolExecutor(8) as runs:
        assert set(runs.map(lambda _: file_sha256(weights), range(40))) == {sha256(CONTENT)}
    (record,) = [path for path in (weights.parent / "cache").rglob("*") if path.is_file()]
    assert json.loads(record.read_bytes())["sha256"] == sha256(CONTENT)
