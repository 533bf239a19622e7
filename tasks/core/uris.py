"""URIs of sources and outputs, and what is called what under them."""

from __future__ import annotations

from tasks.core.errors import SettingsError
from tasks.core.secrets import check_no_secret


def split_uri(uri: str) -> tuple[str, str]:
    """The scheme of a URI, `s3` or `file`, and what follows it, verbatim.

    >>> split_uri("s3://bucket/prefix")
    ('s3', 'bucket/prefix')
    >>> split_uri("relative/folder")
    ('file', 'relative/folder')

    Raises SettingsError for a URI with credentials, with another scheme, or without a bucket or folder.
    """
    check_no_secret(uri)
    scheme, found, rest = uri.partition("://")
    scheme, rest = (scheme.lower(), rest) if found else ("file", uri)
    if scheme not in ("s3", "file") or not rest.strip("/"):
        raise SettingsError(f"{uri!r} is no place for files: write s3://bucket/prefix, or a folder.")
    return scheme, rest


def name_in(uri: str, source: str) -> str:
    """A video as the source calls it. Where the source is this one video, that is the name of its file.

    >>> name_in("s3://bucket/2026/cat.mp4", "s3://bucket")
    '2026/cat.mp4'
    """
    if uri == source:
        return uri.rpartition("/")[2]
    return uri.removeprefix(source.removesuffix("/") + "/")
