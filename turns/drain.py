"""Going down: first no new turns, then none at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from turns.errors import ShuttingDown

# By then a server that restarts is back, and a load balancer has moved on.
_RETRY_AFTER = 5.0


class Drain:
    """Knows the turns that run, and ends them. `begun`: none is let in any more. `cut`: none goes on."""

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
        """Around each turn. Raises ShuttingDown."""
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
        """What goes on inside is ended by `stop` at the cut."""
        if self.cut:
            stop()
        self._stops.add(stop)
        try:
            yield
        finally:
            self._stops.discard(stop)

    async def run(self, within: float) -> None:
        """Let no turn in, and wait for those that run: `within` seconds at most, then they are cut."""
        self.begun = True
        if self.turns and not self.cut:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._over.wait(), within)
        self.end()

    def end(self) -> None:
        """Cut what runs, now."""
        if self.cut:
            return
        self.begun = self.cut = True
        self._over.set()
        for stop in tuple(self._stops):
            stop()


def shutting_down() -> ShuttingDown:
    """The error of a turn that came too late, or took too long."""
    return ShuttingDown(
        "The server is shutting down. Send the request again in a moment.", retry_after=_RETRY_AFTER
    )
