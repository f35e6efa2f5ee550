"""Whose request it is, behind proxies that are trusted and others."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from claude_server.http.guard.address import client_of

TRUSTED = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "127.0.0.1/32", "2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        # Not from a proxy that is trusted: what it says of others counts for nothing.
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        # The client wrote the first one itself.
        ("10.0.0.1", ["1.2.3.4, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.7"], "198.51.100.7"),
        # Two proxies in a row.
        ("127.0.0.1", ["1.2.3.4, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        ("127.0.0.1", ["10.1.1.1, 10.9.9.9"], "10.1.1.1"),
        # What is no address ends the chain: the last that is known is counted.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, "], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.7:55123"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8:2::7]:443"], "2001:db8:2::/64"),
        # One that changes the last half of its address is still the same.
        ("2001:db8:2::7", [], "2001:db8:2::/64"),
        ("2001:db8:2::ffff:1", [], "2001:db8:2::/64"),
        ("::1", [], "::/64"),
        (None, ["198.51.100.7"], "local"),
        ("testclient", ["198.51.100.7"], "testclient"),
    ],
)
def test_clients(peer: str | None, forwarded: list[str], client: str) -> None:
    assert client_of(peer, forwarded, TRUSTED) == client


@given(st.none() | st.text(), st.lists(st.text() | st.ip_addresses().map(str)))
def test_whatever_is_written_somebody_is_counted(peer: str | None, forwarded: list[str]) -> None:
    everybody = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    for trusted in (TRUSTED, everybody, []):
        assert client_of(peer, forwarded, trusted)


@given(st.ip_addresses(v=4).map(str), st.text())
def test_what_a_client_writes_changes_nothing(address: str, written: str) -> None:
    """The last hop is the proxy's own word; before it, anything may stand."""
    assume(not any(ipaddress.ip_address(address) in network for network in TRUSTED if network.version == 4))
    assert client_of("10.0.0.1", [written, address], TRUSTED) == address
    assert client_of(address, [written], TRUSTED) == address


def test_nobody_is_trusted_by_default() -> None:
    assert client_of("127.0.0.1", ["198.51.100.7"], []) == "127.0.0.1"
