"""A server that tells how long its event loop was held: `python -m tests.fuzz.watched`.

GET /stalls gives the most processor time, in seconds, that the process used between two passes of its loop
since it was asked last. All of its threads count, since one that holds the interpreter's lock holds the loop.
Another program on the machine doesn't count.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from claude_server.app.main import create_app
from claude_server.app.server import http_config
from claude_server.configuration.loading import load

_BEAT = 0.002


class Watch:
    """The application, and /stalls in front of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.worst = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/stalls":
            await self._app(scope, receive, send)
            return
        worst, self.worst = self.worst, 0.0
        await Response(json.dumps(worst), media_type="application/json")(scope, receive, send)

    async def beat(self) -> None:
        """Pass through the loop again and again."""
        while True:
            before = time.process_time()
            await asyncio.sleep(_BEAT)
            self.worst = max(self.worst, time.process_time() - before)


async def main() -> None:
    app = create_app(load().settings)
    config = http_config(app)
    watch = Watch(app)
    # Outside of everything, so that no guard stands in the way.
    config.app = watch
    server = uvicorn.Server(config)
    beating = asyncio.create_task(watch.beat())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        print(f"is ready on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await serving
    beating.cancel()


if __name__ == "__main__":
    asyncio.run(main())
