"""Which addresses belong to the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

GLOBAL_UNICAST = ip_network("2000::/3")
"""All that is public in IPv6; not in it are ::1, mapped IPv4, fc00::/7, fe80::/10, ff00::/8 and NAT64."""

NOT_PUBLIC = [
    ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
]
"""What Python 3.11 calls global, in whole or in part: relays, Teredo, 6to4, and documentation."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    >>> [is_public(each) for each in ("93.184.216.34", "10.0.0.1", "169.254.169.254", "::ffff:93.184.216.34")]
    [True, False, False, False]
    """
    ip = ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast or any(ip in network for network in NOT_PUBLIC):
        return False
    return isinstance(ip, IPv4Address) or ip in GLOBAL_UNICAST
