"""Folders and object storage behind one door, by way of fsspec.

Two promises hold for both. What `download` leaves at its target is exactly the version that was
listed, or nothing. What `publish` puts under a name is a complete file, or what was there before.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from uuid import uuid4

from fsspec import AbstractFileSystem
from fsspec.exceptions import FSTimeoutError

from tasks.adapters.storage.reasons import may_be_shown, reason_of_error, storage_error
from tasks.core.errors import HooklineError
from tasks.core.listing import Listing, Sieve
from tasks.core.records import VideoRef
from tasks.core.records.listed import ListedVideos
from tasks.core.secrets import redacted
from tasks.core.uris import name_in

BLOCK_BYTES = 16 * 2**20
"""How much is asked for at a time; each request names the version it wants."""

PART_SUFFIX = ".part"
"""Ends the name of a file that is not complete yet."""

MAX_UPDATE_ATTEMPTS = 10
"""Tries of an update; the last one is made without looking whether somebody came in between."""

PART_IS_DEAD_AFTER_S = 24 * 3600
"""So long after its last byte nobody goes on with an unfinished file or upload."""

log = logging.getLogger(__name__)

_MD5 = re.compile("[0-9a-f]{32}")
_opaque_etags: set[str] = set()
"""Buckets whose ETags look like MD5 and are none."""


class Store(ABC):
    """A folder, or a prefix of a bucket, and everything below it.

    Names are relative to it. Every method raises StorageError, whose `reason` is one of `not_found`,
    `denied`, `no_credentials`, `clock_skew`, `invalid`, `deadline`, `unavailable`, `throttled`, `torn`
    and `no_space`; the last four are `retryable`.
    """

    scheme: ClassVar[str]
    sends_checksums = False
    """Whether writes carry checksums; the first write finds out whether the store takes them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.uri = self.scheme + root

    def listing(self, pattern: str, *, limit: int = 0, output: str = "", first: int | None = None) -> Listing:
        """The videos in the store, and what is left out (see `Sieve`); at most `limit` videos, 0 = all.

        Where the store is one single object, that is the video, whatever the pattern. Links to folders
        are not followed. Only the `first` so many files are looked at.

        Raises StorageError where bucket or folder is missing, and SettingsError for a bad pattern.
        """
        sieve = Sieve(self.uri, pattern, output=output)
        with self._reporting(self.uri):
            videos = ListedVideos.of(filter(sieve.takes, islice(self._find(self._root, sieve), first)))
        return Listing(videos[:limit] if limit else videos, sieve.left_out)

    def check(self) -> None:
        """Raises StorageError where bucket or folder is missing or cannot be reached."""
        with self._reporting(self.uri):
            next(self._find(self._root), None)

    def videos(self, pattern: str, *, limit: int = 0) -> list[VideoRef]:
        """The videos alone."""
        return list(self.listing(pattern, limit=limit).videos)

    def is_file(self) -> bool:
        """Whether the store is one single file or object."""
        with self._reporting(self.uri):
            with suppress(FileNotFoundError):
                return bool(self._stat(self._root))
            return False

    def file(self) -> VideoRef:
        """The one file or object that the store is."""
        with self._reporting(self.uri):
            return self._stat(self._root)

    def content(self) -> bytes:
        """The whole of the one small file that the store is."""
        with self._reporting(self.uri):
            return bytes(self._fs.cat_file(self._root))

    def names(self, folder: str = "") -> list[str]:
        """Everything under `folder`, at any depth, sorted; empty where there is no such folder."""
        path = self._path(folder) if folder else self._root
        with self._reporting(self.scheme + path):
            return sorted(name_in(ref.uri, self.uri) for ref in self._files(path))

    def exists(self, name: str) -> bool:
        """Whether there is a file or object of this name; a folder is none."""
        path = self._path(name)
        with self._reporting(self.scheme + path):
            with suppress(FileNotFoundError):
                return bool(self._stat(path))
            return False

    def read_bytes(self, name: str) -> bytes:
        """The whole of a small file."""
        path = self._path(name)
        with self._reporting(self.scheme + path):
            return bytes(self._fs.cat_file(path))

    @contextmanager
    def opened(self, uri: str) -> Iterator[BinaryIO]:
        """A file of this store, to read parts of it."""
        with self._reporting(uri), self._open(uri.removeprefix(self.scheme), math.inf) as stream:
            yield stream

    def download(self, ref: VideoRef, path: Path, *, deadline_s: float = math.inf) -> None:
        """Bring this very version to `path`; the file appears there complete, or not at all.

        Raises ObjectChanged where the object is no longer the one that was listed, and StorageError
        with the reason `deadline` where the store is so slow that it takes longer than `deadline_s`.
        """
        source, ends_at = ref.uri.removeprefix(self.scheme), time.monotonic() + deadline_s
        with self._reporting(ref.uri, missing="changed"), replacing(path) as part:
            with self._open(source, ends_at) as stream:
                _expect(ref, self._opened(stream))
                save(stream, part, ends_at=ends_at)
            _expect(ref, self._stat(source))
            if not self._same_bytes(ref, part, ends_at=ends_at):
                raise storage_error(ref.uri, "torn", "the bytes that came are not the object's")

    def fetch(self, name: str, path: Path) -> None:
        """Bring what is under `name` now to `path`, as `download` does."""
        source = self._path(name)
        with self._reporting(self.scheme + source):
            ref = self._stat(source)
        self.download(ref, path)

    def download_folder(self, folder: Path) -> None:
        """Bring everything in the store into `folder`, which is complete only when this returns.

        Raises StorageError where there is nothing, or a name points out of the folder.
        """
        with self._reporting(self.uri):
            found = list(self._files(self._root))
        if not found:
            raise storage_error(self.uri, "not_found", "there is nothing under this name")
        inside = folder.resolve()
        for ref in found:
            target = (inside / name_in(ref.uri, self.uri)).resolve()
            if not target.is_relative_to(inside):
                raise storage_error(ref.uri, "invalid", "the name leads out of its folder")
            self.download(ref, target)

    def publish(self, local: Path, name: str) -> str:
        """Put the complete file `local` under `name`, replacing what is there; returns its URI.

        Readers see the old object or the new one, never a part of it.
        """
        path = self._path(name)
        uri = self.scheme + path
        with self._reporting(uri):
            self._put(local, path)
            if not self._same_bytes(self._stat(path), local):
                raise storage_error(uri, "torn", "what arrived is not what was sent")
        return uri

    def write_bytes(self, name: str, content: bytes) -> None:
        """Put a few kilobytes under `name`, replacing what is there, in one step.

        Readers see the old content or the new one, never a part of it.
        """
        path = self._path(name)
        with self._reporting(self.scheme + path):
            self._put_bytes(content, path)

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Put what `change` makes of the content under `name` (None = there is none) in its place.

        It may make None of it: then everything stays as it is. Where another program writes between the
        reading and the writing, both are done again, as far as the store has conditional writes.
        """
        path = self._path(name)
        with self._reporting(self.scheme + path):
            for left in reversed(range(MAX_UPDATE_ATTEMPTS)):
                if self._update(path, change, sure=left > 0):
                    return

    def remove(self, name: str) -> None:
        """Remove a file; that there is none is no error."""
        path = self._path(name)
        with self._reporting(self.scheme + path):
            self._remove(path)

    def remove_parts(self) -> None:
        """Remove what writers left that were killed while they wrote."""
        with self._reporting(self.uri):
            self._remove_parts()

    def _files(self, path: str) -> Iterator[VideoRef]:
        """Every object under fsspec's `path` that can be a file of a folder."""
        return (ref for ref in self._find(path) if not ref.uri.endswith("/"))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name.strip('/')}"

    def _same_bytes(self, ref: VideoRef, local: Path, *, ends_at: float = math.inf) -> bool:
        """Whether the two are the same, as far as size and ETag can tell.

        An ETag may look like an MD5 and be none, for encryption or as the vendor likes it. Where it is not
        that of the local file, the object is read once more; if that gives the same bytes, the ETags of its
        bucket are not compared again.
        """
        if local.stat().st_size != ref.size_bytes:
            return False
        bucket = ref.uri.removeprefix(self.scheme).partition("/")[0]
        if bucket in _opaque_etags or not _MD5.fullmatch(ref.etag):
            return True
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if digest == ref.etag:
            return True
        again = hashlib.md5(usedforsecurity=False)
        with self._open(ref.uri.removeprefix(self.scheme), ends_at) as stream:
            while block := stream.read(BLOCK_BYTES):
                again.update(block)
        if again.hexdigest() != digest:
            return False
        _opaque_etags.add(bucket)
        log.info("The ETags of %s%s are not the MD5 of its objects.", self.scheme, bucket)
        return True

    @contextmanager
    def _reporting(self, uri: str, *, missing: str = "not_found") -> Iterator[None]:
        try:
            yield
        except HooklineError:
            raise
        except Exception as error:  # s3fs lets TypeErrors and IndexErrors out on odd replies
            reason, detail = self._explain(error, uri.removeprefix(self.scheme))
            reason = missing if reason == "not_found" else reason
            explained = storage_error(uri, reason, redacted(detail))
            # What is behind it is shown with it in every log.
            raise explained from (error if may_be_shown(error) else None)

    @property
    @abstractmethod
    def _fs(self) -> AbstractFileSystem: ...

    @abstractmethod
    def _find(self, path: str, sieve: Sieve | None = None) -> Iterator[VideoRef]:
        """Every object under fsspec's `path`, in no order; or the one there, where that is an object.

        Folders that `sieve` does not enter are not looked into.
        """

    @abstractmethod
    def _stat(self, path: str) -> VideoRef:
        """The version that is at `path` now. Raises FileNotFoundError for a folder, too."""

    @abstractmethod
    def _open(self, path: str, ends_at: float) -> Any:
        """The file at `path`, to be read; no read may last beyond `ends_at` on the monotonic clock."""

    @abstractmethod
    def _opened(self, stream: Any) -> VideoRef:
        """The version that `stream` reads."""

    @abstractmethod
    def _put(self, local: Path, path: str) -> None:
        """Put a complete file at `path` in one step."""

    @abstractmethod
    def _put_bytes(self, content: bytes, path: str) -> None:
        """Put small `content` at `path` in one step."""

    @abstractmethod
    def _update(self, path: str, change: Callable[[bytes | None], bytes | None], *, sure: bool) -> bool:
        """One try of `update`; False if somebody came in between, and it was to be `sure` of that."""

    @abstractmethod
    def _remove(self, path: str) -> None:
        """Remove the file at `path`, if there is one."""

    @abstractmethod
    def _remove_parts(self) -> None:
        """Remove unfinished files that nobody can be writing any more."""

    def _explain(self, error: Exception, path: str) -> tuple[str, str]:
        """The reason behind an error that came with fsspec's `path`, and a sentence about it."""
        return reason_of_error(error)


def _expect(ref: VideoRef, found: VideoRef) -> None:
    if found != ref:
        raise storage_error(ref.uri, "changed", "")


def save(stream: BinaryIO, path: Path, *, ends_at: float = math.inf) -> None:
    with path.open("xb") as out:
        while block := stream.read(BLOCK_BYTES):
            out.write(block)
            if time.monotonic() > ends_at:
                raise FSTimeoutError
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` that takes its place when the block ends well, and is gone otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{uuid4().hex}{PART_SUFFIX}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
