"""The caller's tools, offered to a claude process as those of an MCP server that lives in us. Pure.

The process only ever lists them. It asks leave before a call, and gets no answer: the calls are the client's
to make, so the turn is over then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from claude_server.core.model import Tool

_VERSION = "1"
# Characters of a result that the CLI passes on as it is; of a longer one it tells the name of a file. More it
# doesn't take.
LONGEST_RESULT = 500_000
_META = {"anthropic/maxResultSizeChars": LONGEST_RESULT}


def answer(server: str, message: Mapping[str, Any], tools: Sequence[Tool]) -> Mapping[str, Any] | None:
    """The JSON-RPC answer to one message of the process; None: none is given."""
    method = message.get("method")
    result: Mapping[str, Any]
    if method == "initialize":
        result = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": server, "version": _VERSION},
        }
    elif method == "tools/list":
        # Most of them have the same schema, if it goes to the API another way.
        schemas = {schema: json.loads(schema) for schema in {tool.schema for tool in tools}}
        result = {"tools": [_listed(tool, schemas) for tool in tools]}
    elif method == "tools/call":
        return None
    else:
        # A notification; the process waits for a word on it too.
        result = {}
    return {"jsonrpc": "2.0", "id": message.get("id", 0), "result": result}


def _listed(tool: Tool, schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = schemas[tool.schema]
    return {"name": tool.name, "description": tool.description, "inputSchema": schema, "_meta": _META}
