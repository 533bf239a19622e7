"""Signatures after Standard Webhooks 1.0: HMAC-SHA256 of id, timestamp and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence

from tasks.core.errors import SettingsError

VARIABLE = "HOOKLINE_WEBHOOK_SECRETS"
PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)


def signatures(secrets: Sequence[bytes], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature with each secret, so that receivers can change theirs."""
    signed = b".".join([message_id.encode(), str(timestamp).encode(), body])
    made = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in made)


def read_secrets(*, needed: bool = True) -> list[bytes]:
    """The secrets in the environment, separated by spaces.

    Raises:
        SettingsError: one is not `whsec_` and 24 to 64 bytes in Base64; or there is none, and one is needed.
    """
    texts = os.environ.get(VARIABLE, "").split()
    return [_secret(text) for text in texts or [""] * needed]


def _secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(PREFIX) or len(secret) not in SECRET_BYTES:
        raise SettingsError(
            f"{VARIABLE} must have secrets such as {PREFIX}MfKQ9r8G..., with spaces between them: "
            f"{PREFIX} and 24 to 64 bytes in Base64 (echo {PREFIX}$(head -c 32 /dev/urandom | base64))."
        )
    return secret
