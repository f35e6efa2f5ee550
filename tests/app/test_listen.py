"""Where a server is found."""

from __future__ import annotations

import errno
import socket

import pytest

from claude_server.app.listen import listen, url_of
from claude_server.configuration.loading import Loaded
from claude_server.configuration.settings import ConfigError, Settings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("192.168.1.2", "http://192.168.1.2:8000"),
        # No client can ask for these.
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
    ],
)
def test_the_url_that_is_shown(host: str, url: str) -> None:
    assert url_of(host, 8000) == url


def test_a_machine_without_such_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*arguments: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", unsupported)
    with pytest.raises(ConfigError, match="Can't listen on ::1:8765: Address family not supported"):
        listen(Loaded(Settings(host="::1"), (), port_pinned=False))
