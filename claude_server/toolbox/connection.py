"""A short connection to an MCP server: does it answer, and what has it got?"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from claude_server.core.cli_tools import McpServer
from claude_server.core.errors import ServerFailed

# Seconds for all of it; a program that is fetched at its first start takes some.
_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class McpInventory:
    """How much a server has of each kind."""

    tools: int = 0
    resources: int = 0
    prompts: int = 0


async def probe(server: McpServer, environ: Mapping[str, str]) -> McpInventory:
    """Connect, count, and disconnect: nothing of it is left running. Raises ServerFailed."""
    # The library brings half a web stack along: not worth a start's time where no server is named.
    from mcp import Client

    try:
        with anyio.fail_after(_TIMEOUT):
            async with _transport(server, environ) as transport, Client(transport) as client:
                has = client.server_capabilities
                return McpInventory(
                    tools=await _count(client.list_tools, "tools") if has.tools else 0,
                    resources=await _count(client.list_resources, "resources") if has.resources else 0,
                    prompts=await _count(client.list_prompts, "prompts") if has.prompts else 0,
                )
    except TimeoutError:
        reason = f"no answer within {_TIMEOUT:g} s"
    except Exception as error:
        # The edge to a library and a foreign program: whatever goes wrong, the server is of no use.
        reason = _reason(error)
    raise ServerFailed(f"The MCP server '{server.name}' can't be used: {reason}.")


def _reason(error: Exception) -> str:
    # Of a group the first one says what was wrong. Groups have no name before Python 3.11.
    while inner := getattr(error, "exceptions", ()):
        error = inner[0]
    # Some go on with where to read about it.
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


async def _count(listed: Callable[..., Awaitable[Any]], name: str) -> int:
    page = await listed()
    found = len(getattr(page, name))
    while page.next_cursor:
        page = await listed(cursor=page.next_cursor)
        found += len(getattr(page, name))
    return found


@asynccontextmanager
async def _transport(
    server: McpServer, environ: Mapping[str, str]
) -> AsyncGenerator[AbstractAsyncContextManager[Any], None]:
    import httpx2
    from mcp import StdioServerParameters
    from mcp.client.sse import sse_client
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if server.transport == "sse":
        yield sse_client(server.url, headers=dict(server.headers))
    elif server.transport == "http":
        async with httpx2.AsyncClient(headers=dict(server.headers), timeout=_TIMEOUT) as http:
            yield streamable_http_client(server.url, http_client=http)
    else:
        seen = {name: value for name, value in environ.items() if server.may_see(name)}
        program = StdioServerParameters(
            command=server.command, args=list(server.args), env={**seen, **dict(server.env)}
        )
        # What it says there is for whoever looks after it, not for our log.
        with open(os.devnull, "w") as nowhere:  # noqa: ASYNC230, PTH123
            yield stdio_client(program, errlog=nowhere)
