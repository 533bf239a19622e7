"""SHA-256 of large files, remembered from run to run: to hash the weights of a model takes seconds."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

LARGE_BYTES = 2**24
"""Smaller files are hashed each time."""

SETTLED_S = 5.0
"""How long a file must have been as it is. File systems tell times to two seconds at worst: one that was just
written may change once more and look the same."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file as 64 hex digits.

    That of a large file is kept in the user's cache folder, and holds as long as the file has the same path,
    inode, size and times of change. Runs side by side do not disturb each other: each file has a record
    of its own, which is replaced as a whole.

    Raises:
        OSError: the file cannot be read.
    """
    state = _state(path)
    if state["size"] < LARGE_BYTES or not _is_settled(state):
        return _hashed(path)
    record = _record_of(path)
    if record and (known := _read(record, state)):
        return known
    sha256 = _hashed(path)
    if record and _state(path) == state:  # nobody wrote while it was read
        _write(record, {**state, "sha256": sha256})
    return sha256


def _state(path: Path) -> dict[str, Any]:
    """What tells a file from an earlier one of the same name."""
    stat = path.stat()
    return {
        "path": str(path.resolve()),
        "inode": stat.st_ino,
        "size": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "changed_ns": stat.st_ctime_ns,  # follows a change also where the other time was set back
    }


def _is_settled(state: dict[str, Any]) -> bool:
    newest_s = max(state["modified_ns"], state["changed_ns"]) / 1e9
    return bool(time.time() - newest_s > SETTLED_S)


def _hashed(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _record_of(path: Path) -> Path | None:
    """Where the hash of a file is remembered; None where nobody has a home."""
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    return caches / "hookline" / "sha256" / f"{name}.json"


def _read(record: Path, state: dict[str, Any]) -> str | None:
    with suppress(OSError, ValueError, TypeError):
        kept = json.loads(record.read_bytes())
        sha256 = str(kept.pop("sha256", ""))
        if kept == state and len(sha256) == 64:
            return sha256
    return None


def _write(record: Path, content: dict[str, Any]) -> None:
    """Where it cannot be kept, it is worked out again the next time."""
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=record.parent, suffix=".part", delete=False) as part:
            json.dump(content, part)
        Path(part.name).replace(record)
