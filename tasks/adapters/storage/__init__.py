"""Folders and object storage behind one interface, and what Hookline keeps there."""

from __future__ import annotations

from pathlib import Path

from tasks.adapters.storage.folder import FolderStore
from tasks.adapters.storage.store import Store
from tasks.core.names import forms
from tasks.core.records import VideoRef
from tasks.core.uris import split_uri

__all__ = ["Store", "open_store", "store_of"]


def open_store(uri: str) -> Store:
    """The store at `s3://bucket/prefix`, `file:///folder`, `/folder` or `relative/folder`.

    A URI is taken verbatim: `%20` is three characters. Only of a folder whose name can be stored in several
    Unicode forms, the form that is there is taken. Opening touches neither network nor, but for such names,
    disk, and costs nothing: connections belong to the process and are shared by all its stores.

    Raises SettingsError for a scheme we don't know, or where bucket or folder is missing.
    """
    scheme, rest = split_uri(uri)
    if scheme == "file":
        path = str(Path(rest).expanduser().absolute())
        others = forms(path)[1:]
        return FolderStore(next((form for form in [path, *others] if others and Path(form).exists()), path))
    return _bucket(rest.strip("/"))


def store_of(video: VideoRef) -> Store:
    """The store that a listed video is downloaded from: a list of videos may lie in another one."""
    scheme, _, path = video.uri.partition("://")
    return FolderStore(path) if scheme == "file" else _bucket(path)


def _bucket(path: str) -> Store:
    # s3fs takes most of a second to import, and a folder needs none of it.
    from tasks.adapters.storage.s3 import S3Store

    return S3Store(path)
