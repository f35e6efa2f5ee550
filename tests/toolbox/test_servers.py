"""MCP servers after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from toolbox.connection import Offer
from toolbox.servers import McpServers, Named
from turns.model import McpServer

TIMES = Named(name="times", command="times")


async def answering(server: McpServer, environ: object) -> Offer:
    return Offer(tools=2)


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
    monkeypatch.setattr("toolbox.servers.look", answering)
    servers = McpServers(tmp_path / "gone", {}, [TIMES])
    with capture_logs() as logs:
        await servers.resume()
    assert [line["server"] for line in logs] == ["times"]
    # It answers, and is good until the next restart.
    assert [server.name for server in servers.connected()] == ["times"]
