"""Secrets in URIs: settings may not contain them, and messages show `***` instead of them.

Settings are published with every run, and messages end up in logs, tables and the UI.
"""

from __future__ import annotations

import re

from tasks.core.errors import SettingsError

# A password may hold a slash, as AWS secret keys do; what follows `host:8080` is none.
_CREDENTIALS = re.compile(r"""(?<=://)(?:[^/\s"']*|[^/\s:@"']*:(?!\d+(?:[/\s"']|$))[^\s"']*)@""")
_SIGNED_QUERY = re.compile(
    r"""\?[^\s"'<>?]*?(?:signature|credential|token|sig|key|password|auth)[^\s"'<>?&=]*=[^\s"'<>]*""",
    re.IGNORECASE,
)


def check_no_secret(text: str) -> None:
    """Raise SettingsError if a URI in `text` carries credentials or a signature, without repeating it.

    >>> check_no_secret("s3://bucket/prefix")
    """
    if _CREDENTIALS.search(text) or (":/" in text and _SIGNED_QUERY.search(text)):
        raise SettingsError(
            "a URI here carries credentials or a signature, and settings are published with every run: write "
            "it without them, and give them by AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(HF_TOKEN for the hub) in the environment."
        )


def redacted(text: str) -> str:
    """`text` without the credentials and signatures of the URIs in it.

    >>> redacted("GET http://me:secret@host/a.mp4?X-Amz-Signature=abc failed")
    'GET http://***@host/a.mp4?*** failed'
    """
    return _SIGNED_QUERY.sub("?***", _CREDENTIALS.sub("***@", text))
