"""The caller's tools as those of an MCP server."""

from __future__ import annotations

from typing import Any

import pytest

from claude_server.core.model import Tool
from claude_server.engine.protocol import mcp

TOOLS = (
    Tool("Bash", "runs", '{"type":"object","properties":{"x":{"type":"string"}}}'),
    Tool("f", "", '{"type":"object"}'),
)


def request(method: str, id: object = 3, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


@pytest.mark.parametrize("version", ["2025-06-18", "2024-11-05"])
def test_the_greeting(version: str) -> None:
    assert mcp.answer("f3", request("initialize", 0, protocolVersion=version), TOOLS) == {
        "jsonrpc": "2.0",
        "id": 0,
        "result": {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "f3", "version": "1"},
        },
    }


def test_the_tools_are_listed() -> None:
    answer = mcp.answer("f0", request("tools/list", "abc"), TOOLS)
    assert answer is not None and answer["id"] == "abc"
    assert answer["result"]["tools"] == [
        {
            "name": "Bash",
            "description": "runs",
            "inputSchema": {"type": "object", "properties": {"x": {"type": "string"}}},
            "_meta": {"anthropic/maxResultSizeChars": 500_000},
        },
        {
            "name": "f",
            "description": "",
            "inputSchema": {"type": "object"},
            "_meta": {"anthropic/maxResultSizeChars": 500_000},
        },
    ]
    none = mcp.answer("f0", request("tools/list"), ())
    assert none is not None and none["result"] == {"tools": []}


def test_a_call_has_no_answer() -> None:
    assert mcp.answer("f0", request("tools/call", name="f", arguments={}), TOOLS) is None


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {}},
        {"jsonrpc": "2.0", "id": 0, "method": "ping"},
        {},
    ],
)
def test_anything_else_is_acknowledged(message: dict[str, Any]) -> None:
    """The process waits for a word on a notification too."""
    assert mcp.answer("f0", message, TOOLS) == {"jsonrpc": "2.0", "id": 0, "result": {}}
