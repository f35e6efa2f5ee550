"""What must hold of a server after every fault, seen from outside: by /health and by Linux's /proc."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support import PATIENCE, Server

# What the server holds of each CLI process: three pipes, and from Python 3.12 on a handle for its end.
_DESCRIPTORS_OF_A_CHILD = 3 if sys.version_info < (3, 12) else 4
T = TypeVar("T")


def eventually(fact: Callable[[], object], expected: object, within: float = PATIENCE) -> None:
    """Wait until `fact()` is what is expected: for what no event tells."""
    end = time.monotonic() + within
    while (seen := fact()) != expected:
        assert time.monotonic() < end, f"{seen} is not {expected}"
        time.sleep(0.02)


def settled(fact: Callable[[], T], times: int = 10) -> T:
    """`fact()`, once it has been the same so many times in a row."""
    end = time.monotonic() + PATIENCE
    seen = [fact()]
    while len(seen) < times or len(set(seen[-times:])) > 1:
        assert time.monotonic() < end, f"never settles: {seen[-times:]}"
        time.sleep(0.02)
        seen.append(fact())
    return seen[-1]


class Invariants:
    """Made while the server is idle and has served a turn; `check()` when it has to be idle again.

    No slot is held and nobody waits; the processes alive are those that are registered; descriptors, beside
    those of the processes, and asyncio tasks are as many as they were.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tasks, self._descriptors, self._busy = settled(self._held)
        assert self._busy == (0, 0)

    def check(self) -> None:
        """Waits until all has been given back; fails if it isn't."""
        eventually(self._held, (self._tasks, self._descriptors, (0, 0)))

    def _held(self) -> tuple[object, int, tuple[object, object]]:
        health = self._server.health()
        alive = self._server.claude_processes()
        descriptors = len(list(Path(f"/proc/{self._server.process.pid}/fd").iterdir()))
        registered = health["cli"]["processes"]
        busy = (health["slots"]["running"], health["queue"]["waiting"])
        if registered != len(alive):
            # One is being started, or just ended: seen by the one, and not yet by the other.
            busy = (f"{registered} processes are registered", f"{alive} are alive")
        return health["tasks"], descriptors - _DESCRIPTORS_OF_A_CHILD * len(alive), busy
