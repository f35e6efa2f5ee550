"""MCP servers: how they are named, and after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from claude_server.core.cli_tools import McpServer
from claude_server.core.errors import InvalidRequest
from claude_server.toolbox.connection import McpInventory
from claude_server.toolbox.servers import McpServerConfig, McpServers, parse_config, parse_servers

URL = "https://mcp.example/mcp"
TIMES = McpServerConfig(name="times", command="times")


@pytest.mark.parametrize(
    ("fields", "transport"),
    [
        ({"command": "run"}, "stdio"),
        ({"command": "run", "type": "stdio"}, "stdio"),
        ({"url": URL}, "http"),
        ({"url": URL, "type": "http"}, "http"),
        ({"url": URL, "type": "sse"}, "sse"),
        # What is said goes before what is there.
        ({"command": "run", "url": URL, "type": "sse"}, "sse"),
        ({"command": "run", "url": URL}, "stdio"),
    ],
)
def test_the_transport(fields: dict[str, Any], transport: str) -> None:
    (from_file,) = parse_servers(json.dumps({"mcpServers": {"a": fields}}).encode())
    assert from_file == parse_config({"name": "a", **fields})
    assert from_file.to_mcp_server().transport == transport


def test_all_that_is_said_is_told() -> None:
    fields = {"name": "a-b_c", "url": URL, "headers": {"X-Key": "k"}, "env": {"A": "1"}, "args": ["-x"]}
    told = McpServer(
        "a-b_c", args=("-x",), env=(("A", "1"),), transport="http", url=URL, headers=(("X-Key", "k"),)
    )
    assert parse_config(fields).to_mcp_server() == told


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"name": "a"}, "name", "needs a command, or a url"),
        ({"name": "a", "type": "stdio", "url": URL}, "name", "needs a command"),
        ({"name": "a", "type": "http", "command": "run"}, "name", "url that begins with http"),
        ({"name": "a", "url": "file:///etc/passwd"}, "name", "url that begins with http"),
        ({"name": "a", "url": URL, "type": "carrier-pigeon"}, "type", "'http'"),
        ({"name": "a__b", "command": "run"}, "name", "can't be a server's name"),
        ({"name": "a", "command": "run\0"}, "command", "match"),
    ],
)
def test_what_is_no_server(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_config(fields)
    assert caught.value.param == param and says in caught.value.message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mcpServers": []}', '{"mcpServers": {"a": 5}}'])
def test_what_is_no_file_of_servers(text: str) -> None:
    with pytest.raises(ValueError, match="it is not of the form"):
        parse_servers(text.encode())


# After a restart


async def answering(server: McpServer, environ: object) -> McpInventory:
    return McpInventory(tools=2)


async def test_records_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """Nobody waits for it: what it raised would be seen by nobody."""
    (tmp_path / "mcp.json").write_text("{")
    with capture_logs() as logs:
        await McpServers(tmp_path, {}, [TIMES]).resume()
    assert [line["event"] for line in logs] == ["no MCP server is connected"]
    assert "mcp.json" in logs[0]["problem"]


async def test_records_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_server.toolbox.servers.probe", answering)
    servers = McpServers(tmp_path / "gone", {}, [TIMES])
    with capture_logs() as logs:
        await servers.resume()
    assert [line["server"] for line in logs] == ["times"]
    # It answers, and is good until the next restart.
    assert [server.name for server in servers.connected()] == ["times"]
