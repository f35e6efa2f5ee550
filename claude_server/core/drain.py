"""The drain at shutdown: first new turns are refused, then running ones are cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from claude_server.core.errors import ShuttingDown

# By then a server that restarts is back, and a load balancer has moved on.
_RETRY_AFTER = 5.0


class Drain:
    """Counts running turns and ends them at shutdown. `begun`: new turns are refused. `cut`: all end."""

    def __init__(self) -> None:
        self.begun = False
        self.cut = False
        self.turns = 0
        self._stops: set[Callable[[], object]] = set()
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Drain turns={self.turns} begun={self.begun} cut={self.cut}>"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The context that each turn runs in. Raises ShuttingDown."""
        if self.begun:
            raise shutting_down()
        self.turns += 1
        try:
            yield
        finally:
            self.turns -= 1
            if self.begun and not self.turns:
                self._over.set()

    @contextmanager
    def on_cut(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call `stop` if the drain cuts while the context is open."""
        if self.cut:
            stop()
        self._stops.add(stop)
        try:
            yield
        finally:
            self._stops.discard(stop)

    async def run(self, within: float) -> None:
        """Refuse new turns, and wait for running ones: at most `within` seconds, then cut them."""
        self.begun = True
        if self.turns and not self.cut:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._over.wait(), within)
        self.end()

    def end(self) -> None:
        """Cut all running turns now."""
        if self.cut:
            return
        self.begun = self.cut = True
        self._over.set()
        for stop in tuple(self._stops):
            stop()


def shutting_down() -> ShuttingDown:
    """The error of a turn that is refused or cut at shutdown."""
    return ShuttingDown(
        "The server is shutting down. Send the request again in a moment.", retry_after=_RETRY_AFTER
    )
