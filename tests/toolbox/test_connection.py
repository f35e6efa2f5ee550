"""The look at what an MCP server has, by programs and sockets that answer badly or bit by bit."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from claude_server.core.cli_tools import McpServer
from claude_server.core.errors import ServerFailed
from claude_server.toolbox import connection
from claude_server.toolbox.connection import McpInventory, probe
from tests.invariants import eventually

ENVIRON = {"PATH": "/usr/bin:/bin", "ANTHROPIC_API_KEY": "sk-ant-made-up"}
# Three tools on two pages.
PAGES = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "test", "version": "1"}}
    elif message["method"] != "tools/list":
        error = {"code": -32601, "message": "no such method"}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
        continue
    elif (message.get("params") or {}).get("cursor") == "more":
        result = {"tools": [{"name": "c", "inputSchema": {"type": "object"}}]}
    else:
        tools = [{"name": n, "inputSchema": {"type": "object"}} for n in "ab"]
        result = {"tools": tools, "nextCursor": "more"}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
SILENT = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(1000)
"""


def program(text: str, *arguments: str) -> McpServer:
    return McpServer("a", sys.executable, ("-c", text, *arguments))


async def test_every_page_is_counted() -> None:
    assert await probe(program(PAGES), ENVIRON) == McpInventory(tools=3)


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (McpServer("a", "/nowhere/at/all"), "No such file"),
        (program("print('hello')"), "losed"),
        (McpServer("a", transport="http", url="http://127.0.0.1:9/mcp"), "connect"),
        (McpServer("a", transport="sse", url="http://127.0.0.1:9/sse"), "connect"),
    ],
)
async def test_what_is_no_server(server: McpServer, says: str) -> None:
    with pytest.raises(ServerFailed, match=f"The MCP server 'a' can't be used: .*{says}"):
        await probe(server, ENVIRON)


async def test_a_program_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for for ever, and ended."""
    monkeypatch.setattr(connection, "_TIMEOUT", 2.0)
    with pytest.raises(ServerFailed, match="no answer within 2 s"):
        await probe(program(SILENT, str(tmp_path / "pid")), ENVIRON)
    pid = (tmp_path / "pid").read_text()
    eventually(lambda: Path(f"/proc/{pid}").exists(), False)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """One that takes connections, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_an_address_that_says_nothing(
    kind: Literal["http", "sse"], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_TIMEOUT", 1.0)
    with pytest.raises(ServerFailed, match="can't be used: "):
        await probe(McpServer("a", transport=kind, url=f"http://127.0.0.1:{silent_port}/x"), ENVIRON)


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
        await probe(server, environ)
    seen = dict(line.split("=", 1) for line in told.read_text().splitlines())
    assert {name: seen.get(name) for name in environ} == {**environ, "ANTHROPIC_API_KEY": None}
    assert seen["OWN"] == "1"
