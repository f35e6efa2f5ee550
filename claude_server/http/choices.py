"""Runs the turns of a request with n > 1 concurrently, and merges their events into one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from claude_server.core.model import TurnEvent

# Events buffered for a slow client.
_QUEUE_SIZE = 64
# Cancelled tasks that still have to end; the event loop holds only weak references.
_closing_tasks: set[asyncio.Task[None]] = set()
_Item = tuple[int, TurnEvent | Exception | None]
Run = AsyncGenerator[TurnEvent, None]


async def merge_runs(runs: Sequence[Run]) -> AsyncGenerator[tuple[int, TurnEvent], None]:
    """Yield (index of the choice, event) as events come. Raises the first TurnError; then all turns end."""
    if len(runs) == 1:
        async with aclosing(runs[0]) as only:
            async for event in only:
                yield 0, event
        return
    queue: asyncio.Queue[_Item] = asyncio.Queue(_QUEUE_SIZE)
    tasks = [asyncio.create_task(_pump(index, run, queue)) for index, run in enumerate(runs)]
    left = len(tasks)
    try:
        while left:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield index, item
    finally:
        # Synchronous: in a cancelled generator an await would be cancelled too.
        for task in tasks:
            task.cancel()
            _closing_tasks.add(task)
            task.add_done_callback(_closing_tasks.discard)


async def _pump(index: int, run: Run, queue: asyncio.Queue[_Item]) -> None:
    async with aclosing(run):
        try:
            async for event in run:
                await queue.put((index, event))
            await queue.put((index, None))
        except Exception as error:
            # An exception must not stay in the task: the consumer waits for this item.
            await queue.put((index, error))
