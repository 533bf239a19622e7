"""Folders and object storage behind one interface, and what Hookline keeps there."""

from __future__ import annotations

from pathlib import Path

from tasks.adapters.storage.folder import FolderStore
from tasks.adapters.storage.store import Store
from tasks.core.uris import split_uri

__all__ = ["Store", "open_store"]


def open_store(uri: str) -> Store:
    """The store at `s3://bucket/prefix`, `file:///folder`, `/folder` or `relative/folder`.

    A URI is taken verbatim: `%20` is three characters. Opening touches neither network nor disk and
    costs nothing: connections belong to the process and are shared by all its stores.

    Raises SettingsError for a scheme we don't know, or where bucket or folder is missing.
    """
    scheme, rest = split_uri(uri)
    if scheme == "file":
        return FolderStore(str(Path(rest).expanduser().absolute()))
    # s3fs takes most of a second to import, and a folder needs none of it.
    from tasks.adapters.storage.s3 import S3Store

    return S3Store(rest.strip("/"))
