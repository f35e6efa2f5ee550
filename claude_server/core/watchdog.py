"""The deadlines of one attempt, on one timer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from claude_server.core.errors import TurnTimeout


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Deadlines in seconds: the whole attempt, its first event, the silence between two events."""

    attempt: float
    first_event: float
    idle: float


class Watchdog:
    """Calls `expire(TurnTimeout)` once, when a deadline passes. `touch()` at each event sets no timer: the
    running one checks, when it fires, whether a deadline is really due.

    `progressed_at()`: when the attempt last came nearer to its first event, in the loop's time. The deadline
    of the first event starts anew there, so that a long history on a slow machine is not begun again.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        expire: Callable[[TurnTimeout], None],
        progressed_at: Callable[[], float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._expire = expire
        self._deadlines = deadlines
        self._progressed_at = progressed_at
        self._heard = False
        now = self._loop.time()
        self._end = now + deadlines.attempt
        self._due = now + deadlines.first_event
        self._what = f"sent no event within {deadlines.first_event:g} s (CLAUDE_FIRST_EVENT_TIMEOUT)"
        self._timer = self._loop.call_at(min(self._end, self._due), self._fire)

    def touch(self) -> None:
        """Note an event: the deadline of silence starts anew."""
        self._heard = True
        idle = self._deadlines.idle
        self._due = self._loop.time() + idle
        self._what = f"was silent for {idle:g} s (CLAUDE_IDLE_TIMEOUT)"
        if self._due < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._fire)

    def pause(self) -> None:
        """Ignore silence until the next touch; the deadline of the whole attempt stays."""
        self._due = math.inf

    def stop(self) -> None:
        self._timer.cancel()

    def _fire(self) -> None:
        now = self._loop.time()
        if not self._heard:
            self._due = max(self._due, self._progressed_at() + self._deadlines.first_event)
        if now >= self._end:
            limit = self._deadlines.attempt
            self._expire(TurnTimeout(f"The attempt took longer than {limit:g} s (CLAUDE_TIMEOUT)."))
        elif now >= self._due:
            self._expire(TurnTimeout(f"The claude CLI {self._what}."))
        else:
            self._timer = self._loop.call_at(min(self._end, self._due), self._fire)
