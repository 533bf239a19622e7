"""Whether storage and scratch are as a run needs them. Nothing that is written stays."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from tasks.adapters.storage import Store, open_store, store_of
from tasks.adapters.storage.analysis_cache import RedisValues
from tasks.adapters.storage.uri_list import is_uri_list, videos_of_list
from tasks.core.errors import StorageError
from tasks.core.findings import Finding, Status
from tasks.core.settings import Limits

GB = 10**9

FILES_LOOKED_AT = 1000
"""Files of a source that are listed: S3 gives as many with one answer."""

NAMES_LOOKED_AT = 20
"""Videos of a list that are looked up, with a request each."""


def check_source(uri: str, pattern: str, *, output: str = "") -> Finding:
    """Whether videos can be listed, and one of them read.

    Raises:
        StorageError: they cannot.
        SettingsError: the source is a list that cannot be used.
    """
    source = open_store(uri)
    if is_uri_list(source):
        listing, fix = videos_of_list(source, output=output, first=NAMES_LOOKED_AT), "Mend the list."
    else:
        listing = source.listing(pattern, output=output, first=FILES_LOOKED_AT)
        fix = "Check the folder and select.pattern."
    if listing.refused:
        first = (
            f"{len(listing.refused)} of its first names cannot be used, such as {listing.refused[0].detail}"
        )
        return Finding("Source", "wrong", f"{source.uri}: {first}")
    if not listing.videos:
        left_out = listing.left_out.sentence
        what = f"no video among the files that were looked at. {left_out}" if left_out else "no file"
        return Finding("Source", "wrong", f"{source.uri} can be listed, but has {what}. {fix}")
    with store_of(listing.videos[0]).opened(listing.videos[0].uri) as stream:
        stream.read(1)
    seen = "one video" if len(listing.videos) == 1 else f"{len(listing.videos):,} videos"
    return Finding("Source", "ok", f"{source.uri} can be listed and read: {seen} at a first look")


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
