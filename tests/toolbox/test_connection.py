"""What a server is given when it is connected to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolbox.connection import look
from turns.errors import ServerFailed
from turns.model import McpServer


async def test_what_it_sees_is_what_it_sees_in_a_turn(tmp_path: Path) -> None:
    """A program that is fetched at its first start needs the way to the network then; no login."""
    told = tmp_path / "environment"
    server = McpServer("it", "/bin/sh", ("-c", f"env > {told}"), (("OWN", "1"),))
    environ = {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "HTTPS_PROXY": "http://proxy.example",
        "NODE_EXTRA_CA_CERTS": "/ca.pem",
        "ANTHROPIC_API_KEY": "secret",
    }
    with pytest.raises(ServerFailed):
        await look(server, environ)
    seen = dict(line.split("=", 1) for line in told.read_text().splitlines())
    assert {name: seen.get(name) for name in environ} == {**environ, "ANTHROPIC_API_KEY": None}
    assert seen["OWN"] == "1"
