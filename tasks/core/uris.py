"""Where files are: what a source or an output may be called."""

from __future__ import annotations

from tasks.core.errors import SettingsError
from tasks.core.secrets import check_no_secret


def split_uri(uri: str) -> tuple[str, str]:
    """The scheme of a place, `s3` or `file`, and what follows it, verbatim.

    >>> split_uri("s3://bucket/prefix")
    ('s3', 'bucket/prefix')
    >>> split_uri("relative/folder")
    ('file', 'relative/folder')

    Raises SettingsError for a URI with credentials or of a scheme we don't know, or where bucket or folder is
    missing.
    """
    check_no_secret(uri)
    scheme, found, rest = uri.partition("://")
    scheme, rest = (scheme.lower(), rest) if found else ("file", uri)
    if scheme not in ("s3", "file") or not rest.strip("/"):
        raise SettingsError(f"{uri!r} is no place for files: write s3://bucket/prefix, or a folder.")
    return scheme, rest
