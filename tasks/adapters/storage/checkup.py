"""Whether storage and scratch are as a run needs them. Nothing that is written stays."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.analysis_cache import RedisValues
from tasks.core.errors import StorageError
from tasks.core.findings import Finding, Status
from tasks.core.settings import Limits

GB = 10**9


def check_output(uri: str) -> Finding:
    """Whether files can be written, replaced, read and removed. A folder that is not there is not made."""
    store, name = open_store(uri), f".hookline-{token_hex(6)}.check"
    tried, will_be = store, ""
    if store.scheme == "file://":
        folder = existing_folder(store.uri.removeprefix(store.scheme))
        tried = open_store(str(folder))
        will_be = "" if tried.uri == store.uri else f"; it is not there yet, and will be made in {folder}"
    try:
        heeded = _heeds_conditions(tried, name)
    except StorageError as error:
        said = f"no file could be written, read and removed: {str(error).replace('/' + name, '')}"
        return Finding("Output", "wrong", said)
    if store.scheme == "file://":
        return Finding("Output", "ok", f"{store.uri} can be written{will_be}")
    checksums = "with" if store.sends_checksums else "without"
    can = f"{store.uri} can be written {checksums} checksums, read and removed from"
    if heeded:
        return Finding("Output", "ok", f"{can}; conditional writes are heeded")
    return Finding(
        "Output",
        "note",
        f"{can}. Conditional writes are not heeded: let no two runs with this output overlap.",
    )


def _heeds_conditions(store: Store, name: str) -> bool:
    """Whether an update is made again where another program writes between its reading and its writing.

    Raises:
        StorageError: the file of this name cannot be written, read or removed.
    """
    seen = list[bytes | None]()

    def change(current: bytes | None) -> bytes:
        seen.append(current)
        if len(seen) == 1:
            store.write_bytes(name, b"in between")
        return b"last"

    try:
        store.update(name, change)
        store.read_bytes(name)
    except StorageError:
        with suppress(StorageError):
            store.remove(name)
        raise
    store.remove(name)
    return len(seen) > 1


def check_scratch(limits: Limits) -> Finding:
    """Whether the scratch folder can be written, and has the room that a run may take."""
    folder = existing_folder(limits.scratch_dir or tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=folder):
            free_gb, wanted_gb = shutil.disk_usage(folder).free / GB, limits.scratch_gb
    except OSError as error:
        why = f"nothing can be written in {folder} ({error.strerror})"
        return Finding("Scratch", "wrong", f"{why}. Name another folder as limits.scratch_dir.")
    if free_gb >= wanted_gb:
        free = f"{free_gb:,.0f} GB are free in {folder}"
        return Finding("Scratch", "ok", f"{free}; limits.scratch_gb is {wanted_gb:g}")
    # Short videos take little of what a run may take; without room for one large file it is in doubt.
    status: Status = "note" if free_gb >= limits.max_file_gb else "wrong"
    return Finding(
        "Scratch",
        status,
        f"only {free_gb:,.1f} GB are free in {folder}, and limits.scratch_gb lets a run take {wanted_gb:g}: "
        "when the disk is full, videos fail. Free some space, name a folder of a larger disk as "
        "limits.scratch_dir, or lower limits.scratch_gb.",
    )


def check_cache(setting: str) -> Finding:
    """Whether the analyses in Redis can be read.

    Raises:
        StorageError: they cannot.
    """
    RedisValues(setting).get("check")
    return Finding("Cache", "ok", f"{setting} can be read")


def existing_folder(path: str) -> Path:
    """The folder itself, or the nearest one above it that is there: in that it would be made."""
    folder = Path(path).expanduser().absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
