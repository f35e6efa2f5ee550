"""Tells observers of one turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from claude_server.core.errors import TurnError
from claude_server.core.model import TurnDone, TurnEvent, TurnRequest
from claude_server.core.ports import TurnEnd, TurnObserver, TurnOutcome


class ObservedTurn:
    """A context around a turn. Leaving it is the turn's end, unless its answer was that already."""

    def __init__(
        self,
        turn: TurnRequest,
        observers: Sequence[TurnObserver],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turn = turn
        self._observers = observers
        self._clock = clock
        self._began = clock()
        self._retries = 0
        self._ended = False

    def __enter__(self) -> ObservedTurn:
        for observer in self._observers:
            observer.started(self._turn)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._end(TurnOutcome.FAILED, error=error)
        else:
            # Cancelled, or its generator was closed.
            self._end(TurnOutcome.LEFT)

    def retried(self, error: TurnError, delay: float) -> None:
        """Another try follows after `delay` seconds."""
        self._retries += 1
        for observer in self._observers:
            observer.retried(self._turn, error, delay)

    def seen(self, event: TurnEvent) -> TurnEvent:
        """The event as it is. A TurnDone is the turn's end."""
        if isinstance(event, TurnDone):
            self._end(TurnOutcome.ANSWERED, done=event)
        return event

    def _end(
        self, outcome: TurnOutcome, *, done: TurnDone | None = None, error: Exception | None = None
    ) -> None:
        if self._ended:
            return
        self._ended = True
        end = TurnEnd(outcome, self._clock() - self._began, self._retries, done, error)
        for observer in self._observers:
            observer.ended(self._turn, end)
