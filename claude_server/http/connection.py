"""Work that stops when the client hangs up, or the server goes down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from starlette.types import Receive

from claude_server.core.drain import Drain, shutting_down


async def while_connected(receive: Receive, drain: Drain, work: Callable[[], Awaitable[None]]) -> bool:
    """Run `work` to its end (true), or cancel it when the client disconnects (false).

    The request's body must have been read. `work` handles its own errors.

    Raises ShuttingDown if the drain cut the work.
    """
    finished = False
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        with drain.on_cut(group.cancel_scope.cancel):
            await work()
        finished = True
        group.cancel_scope.cancel()
    if drain.cut and not finished:
        raise shutting_down()
    return finished
