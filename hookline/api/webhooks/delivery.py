"""Telling one receiver: one request to an address that was checked; of the answer only the status counts."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from importlib.metadata import version

import httpx

from hookline.api.contract.problems import Problem
from hookline.api.webhooks.outbox import Message
from hookline.api.webhooks.signing import signatures
from hookline.api.webhooks.targets import Target, Targets

WITHIN_S = 10.0
"""For everything: the look-up of the host, the connection, and the answer's first line."""


class Delivery:
    """How messages are sent: signed, to these targets, over TLS."""

    def __init__(
        self,
        targets: Targets,
        secrets: Sequence[bytes],
        *,
        trusted: ssl.SSLContext | None = None,
        within_s: float = WITHIN_S,
    ) -> None:
        self.targets, self._secrets, self._within_s = targets, secrets, within_s
        self._trusted = trusted or httpx.create_ssl_context()

    async def attempt(self, message: Message) -> str:
        """Send a message once; why it was not taken, or nothing if it was."""
        try:
            async with asyncio.timeout(self._within_s):
                target = await asyncio.to_thread(self.targets.find, message.url)
                status = await self._send(message, target)
        except TimeoutError:
            return f"no answer within {self._within_s:g} s"
        except Problem as problem:
            return problem.detail
        except (httpx.HTTPError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return "" if 200 <= status < 300 else f"the answer was {status}"

    async def _send(self, message: Message, target: Target) -> int:
        """The status of the answer.

        Raises:
            httpx.HTTPError: there is none.
        """
        now = int(time.time())
        signed = signatures(self._secrets, message_id=message.id, timestamp=now, body=message.body)
        headers = {
            "Host": target.url.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": f"hookline/{version('hookline')}",
            "webhook-id": message.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signed,
        }
        # Not by its name, which may mean another address by now; and a proxy would look that up by itself.
        async with httpx.AsyncClient(
            verify=self._trusted, trust_env=False, follow_redirects=False, timeout=self._within_s
        ) as client:
            for address in target.addresses:
                request = client.build_request(
                    "POST",
                    target.url.copy_with(host=address),
                    headers=headers,
                    content=message.body,
                    extensions={"sni_hostname": target.host},
                )
                try:
                    response = await client.send(request, stream=True)  # its body is left unread
                except httpx.ConnectError as error:
                    failed = error
                    continue
                await response.aclose()
                return response.status_code
        raise failed
