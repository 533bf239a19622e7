"""Where webhooks may go: to hosts that the operator named, at public addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from hookline.api.contract.problems import Problem
from hookline.api.webhooks.addresses import is_public

HTTPS = 443

Resolve = Callable[[str, int], Sequence[str]]


def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, best first.

    Raises:
        OSError: it has none, or nobody knows.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Target:
    """Where one webhook goes: its URL, and the addresses that were checked."""

    url: httpx.URL
    addresses: Sequence[str]

    @property
    def host(self) -> str:
        return self.url.raw_host.decode()

    @property
    def place(self) -> str:
        """Host and port, as they are named in `serve.webhook_hosts`."""
        port = self.url.port or HTTPS
        return self.host if port == HTTPS else f"{self.host}:{port}"


class Targets:
    """The hosts that may be told; without any, nobody is."""

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        resolve: Resolve = resolved,
        may_connect: Callable[[str], bool] = is_public,
    ) -> None:
        self._hosts, self._resolve, self._may_connect = frozenset(hosts), resolve, may_connect

    def find(self, url: str) -> Target:
        """The target that a URL names, with its addresses of this moment: connect to no other.

        Raises:
            Problem: it is no https URL, its host was not named, or has an address that is not public.
        """
        target = self.named(url)
        try:
            addresses = self._resolve(target.host, target.url.port or HTTPS)
        except (OSError, UnicodeError) as error:
            raise refused(f"{target.host} has no address ({error}): look at its name.") from error
        if hidden := [address for address in addresses if not self._may_connect(address)]:
            raise refused(
                f"{target.host} is at {hidden[0]}, which is not an address of the public internet: "
                "a webhook goes only to those."
            )
        return Target(target.url, addresses)

    def named(self, url: str) -> Target:
        """The target that a URL names, without its addresses.

        Raises:
            Problem: it is no https URL, or its host is not among those named.
        """
        if not self._hosts:
            raise refused("This service sends no webhooks: its operator names hosts in serve.webhook_hosts.")
        try:
            target = Target(httpx.URL(url), ())
        except (httpx.InvalidURL, UnicodeError, TypeError, ValueError) as error:
            raise refused(f"{url[:200]!r} is no URL ({error}).") from error
        if target.url.scheme != "https" or not target.host or target.url.userinfo:
            raise refused(f"{url[:200]!r} is not https://HOST/PATH, without a user or a password.")
        if target.place not in self._hosts:
            raise refused(
                f"{target.place[:200]} is none of the hosts that this service tells: its operator names them "
                "in serve.webhook_hosts."
            )
        return target


def refused(detail: str) -> Problem:
    """Why a webhook is not sent."""
    return Problem(422, "webhook_refused", f"webhook_url: {detail}")
