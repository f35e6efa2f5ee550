"""Workers that wait at the calls of their last answer, and the turns that go on in them. Nothing awaits.

A worker comes here when its turn ends in calls, and holds no slot. It leaves in one of these ways:

    waiting --lease--> busy: the results of its calls came, and nothing else that is new
        |
        +--> retired: another request brought its results (the client has gone on another way); it waited
             longer than `idle` seconds; there were more than `limit`, or its place was wanted, and it had
             waited longest; its process ended

A waiting process can't be used for anything else: it would have to be interrupted and emptied first, which a
fresh one need not. And it is always killed: told to end, it would take that for an answer to its question.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

import structlog

from claude_server.core.model import ToolResult
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.workers.counters import Count, Counted, Fallback, Retired
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.worker import Worker

log = structlog.get_logger("claude_cli")

# Calls of workers that are gone: why they are is remembered for this many.
_MAX_GONE = 4096
_WHY_GONE = {
    Retired.WAITED_LONG: Fallback.TOO_LATE,
    Retired.ENDED: Fallback.DIED,
}


class SuspendedWorkers:
    """At most `limit`, the one that began to wait first in front. `counts` are the pool's."""

    def __init__(
        self,
        table: ProcessTable,
        counts: Counter[Counted],
        clock: Callable[[], float],
        *,
        limit: int,
        idle: float,
    ) -> None:
        self._table = table
        self._counts = counts
        self._clock = clock
        self._limit = limit
        self._idle = idle
        self._waiting: list[Worker] = []
        self._closed = False
        self._gone: OrderedDict[str, Fallback] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SuspendedWorkers waiting={len(self._waiting)} of {self._limit}>"

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def shared(self) -> int:
        """How many of them serve no session."""
        return sum(worker.launch.session is None for worker in self._waiting)

    def sessions(self) -> set[str]:
        """The UUIDs of the sessions whose process waits here."""
        return {w.launch.session.uuid for w in self._waiting if w.launch.session is not None}

    def add(self, worker: Worker, reason: Retired | None) -> None:
        """Take a worker in whose turn has ended in calls, unless there is a `reason` for its end."""
        self._waiting.append(worker)
        if worker.results:
            # It was leased, and the turn was given up before it began.
            worker.results = ()
        else:
            self._counts[Count.SUSPENDED] += 1
        log.debug("a worker waits at its calls", worker=worker.process.pid, waiting=len(self))
        if reason is not None or self._closed:
            self._retire(worker, reason or Retired.CLOSED)
        while len(self) > self._limit:
            self._retire(self._waiting[0], Retired.SUSPENDED_CAP)

    def lease(self, demand: Demand) -> Worker | None:
        """The worker that waits for the results that this turn brings, if it can go on there; it isn't kept
        here any more. None: the turn is served in another way; if it brought results, the reason is
        counted."""
        if not self._limit or not demand.answered_calls:
            return None
        worker = next(filter(lambda w: _waits_for(w, demand), self._waiting), None)
        result = self._fallback(demand) if worker is None else _goes_on(worker, demand)
        if isinstance(result, Fallback):
            self._counts[result] += 1
            log.debug("a turn doesn't go on in the worker that waits", reason=result.value)
            if worker is not None and result is not Fallback.OTHER_OWNER:
                self._retire(worker, Retired.OTHERWISE_CONTINUED)
            return None
        if worker is None:
            return None
        self._waiting.remove(worker)
        self._remember(worker, Fallback.USED)
        worker.results = result
        self._counts[Count.RESUMED] += 1
        log.debug("a worker goes on", worker=worker.process.pid)
        return worker

    def make_room(self) -> bool:
        """End the one without a session that has waited longest. False: there is none."""
        worker = next((w for w in self._waiting if w.launch.session is None), None)
        if worker is not None:
            self._retire(worker, Retired.PLACE_WANTED)
        return worker is not None

    def end_session(self, session_uuid: str, reason: Retired) -> None:
        """End a session's process if it waits here."""
        for worker in tuple(self._waiting):
            if worker.launch.session is not None and worker.launch.session.uuid == session_uuid:
                self._retire(worker, reason)

    def ended(self, worker: Worker) -> None:
        """A waiting worker's process ended by itself."""
        if worker in self._waiting:
            self._retire(worker, Retired.ENDED)

    def refuse(self) -> None:
        """Retire all, and from now on keep none."""
        self._closed = True
        self.retire_all(Retired.CLOSED)

    def retire_all(self, reason: Retired) -> None:
        for worker in tuple(self._waiting):
            self._retire(worker, reason)

    def look_after(self, now: float) -> None:
        """Retire those that have waited for too long."""
        for worker in tuple(self._waiting):
            if now - worker.idle_since >= self._idle:
                self._retire(worker, Retired.WAITED_LONG)

    def _fallback(self, demand: Demand) -> Fallback:
        known = (self._gone[call] for call in demand.answered_calls if call in self._gone)
        return next(known, Fallback.UNKNOWN)

    def _retire(self, worker: Worker, reason: Retired) -> None:
        self._waiting.remove(worker)
        self._counts[reason] += 1
        self._remember(worker, _WHY_GONE.get(reason, Fallback.EVICTED))
        log.debug("a waiting worker is retired", worker=worker.process.pid, reason=reason.value)
        self._table.retire(worker.process, now=True)

    def _remember(self, worker: Worker, why: Fallback) -> None:
        for call in worker.suspended.calls if worker.suspended is not None else ():
            self._gone[call.id] = why
            self._gone.move_to_end(call.id)
        while len(self._gone) > _MAX_GONE:
            self._gone.popitem(last=False)


def _waits_for(worker: Worker, demand: Demand) -> bool:
    return worker.suspended is not None and any(
        call.id in demand.answered_calls for call in worker.suspended.calls
    )


def _goes_on(worker: Worker, demand: Demand) -> tuple[ToolResult, ...] | Fallback:
    ours, theirs = worker.launch.session, demand.launch.session
    if worker.owner != demand.owner:
        return Fallback.OTHER_OWNER
    if (ours.uuid if ours else None) != demand.session:
        return Fallback.HISTORY
    if theirs is not None and (theirs.at is None or worker.mark != theirs.at):
        return Fallback.HISTORY
    return worker.suspended.goes_on(demand) if worker.suspended is not None else Fallback.UNKNOWN
