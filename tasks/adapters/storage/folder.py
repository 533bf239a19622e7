"""The folder side of storage: files of this machine."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from tasks.adapters.storage.store import PART_IS_DEAD_AFTER_S, PART_SUFFIX, Store, replacing, save
from tasks.core.listing import Sieve
from tasks.core.names import legible
from tasks.core.records import VideoRef

log = logging.getLogger(__name__)


class FolderStore(Store):
    """A folder of this machine. A version is told by its size and the time it was last written."""

    scheme = "file://"

    def names(self, folder: str = "") -> list[str]:
        return super().names(folder) if Path(self._root, folder).exists() else []

    @property
    def _fs(self) -> AbstractFileSystem:
        return LocalFileSystem()

    def _find(self, path: str, sieve: Sieve | None = None) -> Iterator[VideoRef]:
        if Path(path).is_file():
            yield self._stat(path)
            return
        # Not fsspec's find(): it passes over folders that cannot be read without a word.
        yield from self._below(path, sieve, top=True)

    def _below(self, folder: str, sieve: Sieve | None, *, top: bool = False) -> Iterator[VideoRef]:
        """The files of a folder at any depth, by URI: so they need not be sorted afterwards."""
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=_by_uri)
        except OSError as error:
            if top:
                raise
            if not isinstance(error, FileNotFoundError):
                why = error.strerror
                log.warning("%s: what is in this folder is not seen (%s).", legible(folder), why)
            return
        for entry in entries:
            if _is_folder(entry):
                if self._enters(entry, sieve):
                    yield from self._below(entry.path, sieve)
            elif not (entry.name.startswith(".") and entry.name.endswith(PART_SUFFIX)):
                try:
                    yield self._version(entry.path, entry.stat)
                except FileNotFoundError:  # no regular file, or a link to nowhere
                    if sieve:
                        sieve.pass_over(self.scheme + entry.path)

    def _enters(self, folder: os.DirEntry[str], sieve: Sieve | None) -> bool:
        """Links to folders are not followed."""
        uri = f"{self.scheme}{folder.path}/"
        if folder.is_symlink():
            if sieve:
                sieve.pass_over(uri)
            return False
        return sieve is None or sieve.enters(uri)

    def _stat(self, path: str) -> VideoRef:
        return self._version(path, Path(path).stat)

    def _version(self, path: str, status: Callable[[], os.stat_result]) -> VideoRef:
        try:
            return self._ref(path, status())
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link to itself leads nowhere
                raise FileNotFoundError(path) from error
            raise

    def _open(self, path: str, ends_at: float) -> Any:
        return self._fs.open(path, "rb")

    def _opened(self, stream: Any) -> VideoRef:
        return self._ref(stream.path, os.fstat(stream.fileno()))

    def _ref(self, path: str, status: os.stat_result) -> VideoRef:
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(path)
        etag = f"{status.st_size:x}-{status.st_mtime_ns:x}"
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        return VideoRef(self.scheme + path, etag, status.st_size, modified_at)

    def _put(self, local: Path, path: str) -> None:
        with replacing(Path(path)) as part, local.open("rb") as stream:
            save(stream, part)

    def _put_bytes(self, content: bytes, path: str) -> None:
        with replacing(Path(path)) as part:
            save(BytesIO(content), part)

    def _update(self, path: str, change: Callable[[bytes | None], bytes | None], *, sure: bool) -> bool:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with _locked(file.parent):
            changed = change(file.read_bytes() if file.exists() else None)
            if changed is not None:
                self._put_bytes(changed, path)
        return True

    def _remove(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def _remove_parts(self) -> None:
        for path in Path(self._root).rglob(f".*{PART_SUFFIX}"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > PART_IS_DEAD_AFTER_S:
                    path.unlink()


def _by_uri(entry: os.DirEntry[str]) -> str:
    return f"{entry.name}/" if _is_folder(entry) else entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """No two programs are in this block for the same folder at once."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
