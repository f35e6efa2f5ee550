"""An MCP server of the mcp library on a free port of loopback; its url is the first line that it prints.

python remote_mcp.py http|sse KEY

SIGUSR1: from then on no key is good.
"""

from __future__ import annotations

import signal
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PATHS = {"http": "/mcp", "sse": "/sse"}


def made() -> MCPServer:
    server = MCPServer("remote")

    @server.tool(structured_output=False)
    def add(a: int, b: int, ctx: Context) -> str:
        """Adds, and says who asked."""
        return f"{a + b} for {(ctx.headers or {}).get('x-team')}"

    @server.tool(structured_output=False)
    def sub(a: int, b: int) -> int:
        return a - b

    @server.resource("note://a")
    def note() -> str:
        return "a note"

    @server.prompt()
    def greet() -> str:
        return "Say hello."

    @server.prompt()
    def part() -> str:
        return "Say goodbye."

    return server


class Keyed:
    """Whoever doesn't bring the key is refused."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key: str | None = key
        signal.signal(signal.SIGUSR1, self._change)

    def _change(self, number: int, frame: object) -> None:
        self._key = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (not self._key or Headers(scope=scope).get("x-key") != self._key):
            await PlainTextResponse("no", 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def main(kind: str, key: str) -> None:
    app: Starlette = made().streamable_http_app() if kind == "http" else made().sse_app()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}{PATHS[kind]}", flush=True)
        uvicorn.Server(uvicorn.Config(Keyed(app, key), log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
