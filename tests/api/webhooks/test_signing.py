"""Signatures are those of Standard Webhooks, whoever checks them."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook

from hookline.api.webhooks.signing import VARIABLE, read_secrets, signatures
from tasks.core.errors import SettingsError

OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 24).decode()}" for n in (1, 2))


def test_the_example_of_the_specification() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signatures(
        [secret],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("theirs", [OLD, NEW])
def test_a_receiver_with_either_secret_is_content(monkeypatch: pytest.MonkeyPatch, theirs: str) -> None:
    monkeypatch.setenv(VARIABLE, f"{OLD} {NEW}")
    now, body = int(time.time()), b'{"status": "succeeded"}'
    signed = signatures(read_secrets(), message_id="msg_1", timestamp=now, body=body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": signed}
    assert Webhook(theirs).verify(body, headers) == {"status": "succeeded"}


@pytest.mark.parametrize("text", ["", "secret", "whsec_", "whsec_####", "whsec_MTIz", OLD + " " + OLD[6:]])
def test_what_is_no_secret_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(SettingsError, match=VARIABLE) as refused:
        read_secrets()
    assert OLD[6:] not in str(refused.value)
