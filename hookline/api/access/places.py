"""Which videos may be asked for: those under the sources of the service, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hookline.api.contract.problems import Problem, of_failure
from tasks.adapters.storage import open_store
from tasks.adapters.storage.sources.uri_list import ENDINGS as LISTS
from tasks.core.errors import SettingsError, StorageError
from tasks.core.records import VideoRef
from tasks.core.uris import split_uri

_ODD = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Places:
    """The folders and buckets that videos may come from."""

    def __init__(self, sources: Sequence[str]) -> None:
        stores = [open_store(source) for source in sources]
        self._buckets = [store.uri for store in stores if store.scheme == "s3://"]
        # As it is written, which is how a run names its videos, and where it really is.
        folders = [Path(store.uri.removeprefix("file://")) for store in stores if store.scheme == "file://"]
        self._folders = [(folder, Path(os.path.realpath(folder))) for folder in folders]

    def video(self, path: str) -> VideoRef:
        """The video at an absolute path, or at an `s3://` URI, as the store has it now.

        Raises:
            Problem: it is not there, is no video, or lies where callers may not look.
        """
        if _ODD.search(path):
            raise Problem(400, "invalid_path", "video_path has a character that no path has.")
        try:
            uri = self._uri(path)
            # A run would follow a list, wherever that leads. Where a link leads is known by now.
            if uri.rstrip("/").lower().endswith(LISTS):
                raise Problem(415, "not_a_video", f"A list of videos ({', '.join(LISTS)}) is no video.")
            return open_store(uri).file()
        except SettingsError as error:
            raise Problem(400, "invalid_path", str(error)) from error
        except StorageError as error:
            if error.reason in ("not_found", "invalid"):
                raise _missing(path) from error
            raise of_failure(error.reason, "failed", f"{path!r} cannot be looked at.") from error

    def redacted(self, text: str) -> str:
        """`text` without paths of this machine that callers have no business with."""

        def kept(found: re.Match[str]) -> str:
            path = Path(found[0].removeprefix("file://"))
            known = any(path.is_relative_to(folder) for pair in self._folders for folder in pair)
            return found[0] if known else "..."

        return re.sub(r"""(?:file://|(?<![\w:/]))/[^\s'",;:)]+""", kept, text)

    def _uri(self, path: str) -> str:
        if "://" in path:
            scheme, rest = split_uri(path)
            if scheme != "s3":
                raise Problem(400, "invalid_path", "video_path is an absolute path, or s3://bucket/key.")
            return self._in_bucket(f"s3://{rest}")
        if not path.startswith("/"):
            raise Problem(400, "invalid_path", "video_path is an absolute path, or s3://bucket/key.")
        real = Path(os.path.realpath(path))
        for folder, really in self._folders:
            if real.is_relative_to(really):
                if not os.path.isfile(real):  # noqa: PTH113 - where a name is too long, Path raises
                    raise _missing(path)
                return str(folder / real.relative_to(really))
        raise _outside(path)

    def _in_bucket(self, uri: str) -> str:
        if {".", ".."} & set(uri.split("/")):
            raise Problem(400, "invalid_path", "video_path may not have . or .. as a part.")
        if any(uri.startswith(f"{bucket.rstrip('/')}/") for bucket in self._buckets):
            return uri
        raise _outside(uri)


def _missing(path: str) -> Problem:
    return Problem(404, "not_found", f"There is no video {path[:200]!r}.")


def _outside(path: str) -> Problem:
    return Problem(403, "outside_sources", f"{path[:200]!r} is not under a source of this service.")
