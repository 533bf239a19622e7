"""A webhook goes to a host that was named, at an address of the public internet, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hookline.api.contract.problems import Problem
from hookline.api.webhooks.addresses import is_public
from hookline.api.webhooks.targets import Targets

PUBLIC = ["93.184.216.34", "2606:4700::1111", "1.1.1.1"]
NOT_PUBLIC = [
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "0.0.0.0", "169.254.169.254", "100.64.0.1"),
    *("198.18.0.1", "192.0.0.8", "192.88.99.1", "203.0.113.7", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:93.184.216.34", "fe80::1%eth0", "fc00::1"),
    *("fec0::1", "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "64:ff9b::a00:1", "64:ff9b:1::1"),
]

OTHERS = f"""
http://hooks.example/ ftp://hooks.example/ hooks.example //hooks.example/ https://
https://hooks.example:444/ https://hooks.example:99999/ https://hooks.example:a/
https://a.hooks.example/ https://hooks.example./ https://hooks.example%2eother/
https://hooks.example@other.example/ https://a:b@hooks.example/ https://other.example#@hooks.example/
https://other.example\\@hooks.example/ https://{"a" * 3000}
https://127.0.0.1/ https://2130706433/ https://0x7f000001/ https://0177.0.0.1/ https://127.1/
https://[::1]/ https://[::ffff:127.0.0.1]/ https://①②⑦.0.0.1/ https://127。0。0。1/ https://localhost/
"""


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_one(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_is_none(address: str) -> None:
    assert not is_public(address)


def targets(*addresses: str) -> Targets:
    def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return Targets(["hooks.example", "hooks.example:8443", "xn--bcher-kva.example"], resolve=resolve)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://hooks.example/a?b=c", "hooks.example"),
        ("https://HOOKS.example:443", "hooks.example"),
        ("https://hooks.example:8443/", "hooks.example:8443"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
    ],
)
def test_a_host_that_was_named_may_be_told(url: str, place: str) -> None:
    found = targets(*PUBLIC).find(url)
    assert (found.place, found.addresses) == (place, tuple(PUBLIC))


@pytest.mark.parametrize("url", [*OTHERS.split(), "", "https://hooks.example\n.other.example/"])
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(Problem) as refused:
        targets(*PUBLIC).find(url)
    assert (refused.value.status, refused.value.code) == (422, "webhook_refused")
    assert len(refused.value.detail) < 500


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_host_with_one_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(Problem, match="not an address of the public internet"):
        targets("93.184.216.34", address).find("https://hooks.example/")


def test_a_host_without_an_address_is_refused_and_so_is_everything_where_none_was_named() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(Problem, match=r"has no address.*Name or service not known"):
        Targets(["hooks.example"], resolve=unknown).find("https://hooks.example/")
    with pytest.raises(Problem, match=r"serve\.webhook_hosts"):
        Targets([]).find("https://hooks.example/")
