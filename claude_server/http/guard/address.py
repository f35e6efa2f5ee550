"""The address that a request is counted for, behind trusted proxies. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# With a port, as some proxies write it: 192.0.2.1:80, [2001:db8::1]:80.
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")
# Providers give each customer at least a /64: addresses in one count as one client.
_IPV6_CLIENT_PREFIX = 64


def parse_address(text: str) -> Address | None:
    """Parse an address, with or without a port; None if it is none. IPv4-mapped IPv6 becomes IPv4."""
    found = _WITH_PORT.fullmatch(text.strip())
    plain = (found[1] or found[2]) if found else text.strip()
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_of(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client that a request is counted for.

    `forwarded`: the X-Forwarded-For headers, in order. Each proxy adds whom it heard from at the end; so they
    are read from there, as far as those who wrote them are trusted. What a client wrote itself counts for
    nothing.
    """
    current = parse_address(peer or "")
    hops = [hop for header in forwarded for hop in header.split(",")]
    while current is not None and hops and any(current in network for network in trusted):
        before = parse_address(hops.pop())
        if before is None:
            break
        current = before
    if current is None:
        return peer or "local"
    if isinstance(current, IPv6Address):
        return str(ipaddress.ip_network((int(current), _IPV6_CLIENT_PREFIX), strict=False))
    return str(current)
