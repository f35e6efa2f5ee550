"""Workers of sessions: each holds one conversation, and goes on with it if it stands where the turn does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.workers.counters import Counted, Retired
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.population import Population, Waiter
from claude_server.engine.workers.starter import Starter
from claude_server.engine.workers.state import Abilities, can_take_tools
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker


class SessionWorkers(Population):
    """At most `kept` idle ones. One turn at a time in a session is the session's lock's matter."""

    def __init__(
        self,
        table: ProcessTable,
        starter: Starter,
        counts: Counter[Counted],
        clock: Callable[[], float],
        *,
        abilities: Abilities,
        share: SharePolicy,
        kept: int,
    ) -> None:
        super().__init__(table, starter, counts, clock, initializes_ahead=False)
        self._abilities = abilities
        self._share = share
        self._kept = kept

    def uuids(self) -> set[str]:
        """The UUIDs of the sessions whose process is idle."""
        return {uuid for worker in self.idle if (uuid := _session_of(worker)) is not None}

    def end(self, session_uuid: str, reason: Retired) -> None:
        """End a session's process if it is idle."""
        for worker in tuple(self.idle):
            if _session_of(worker) == session_uuid:
                self._retire(worker, reason)

    def look_after(self, now: float, limits: Limits) -> None:
        """Retire idle workers that are too old, or idle for too long."""
        for worker in tuple(self.idle):
            if now - worker.born >= limits.age:
                self._retire(worker, Retired.AGE)
            elif now - worker.idle_since >= limits.idle:
                self._retire(worker, Retired.IDLE)

    def _fits(self, worker: Worker, demand: Demand) -> bool:
        """Does the worker hold the session's conversation up to its last answer?"""
        if self._share == "key" and worker.owner not in (None, demand.owner):
            return False
        if worker.state is None:
            return worker.launch == demand.launch
        ours, theirs = worker.launch.session, demand.launch.session
        if ours is None or theirs is None:
            return False
        current, config = worker.state.current, demand.config
        same = (current.model, current.system) == (config.model, config.system)
        stands = ours.uuid == theirs.uuid and theirs.at is not None and worker.mark == theirs.at
        return stands and same and can_take_tools(worker.state, config, self._abilities)

    def _wait(self, waiter: Waiter) -> None:
        # A process of this session that doesn't hold its last answer must end before a new one starts.
        if waiter.demand.session is not None:
            self.end(waiter.demand.session, Retired.SESSION_MOVED_ON)
        super()._wait(waiter)

    def _keep(self, worker: Worker) -> None:
        super()._keep(worker)
        self._trim()

    def _add(self, worker: Worker) -> bool:
        usable = super()._add(worker)
        self._trim()
        return usable

    def _has_room(self) -> bool:
        return True

    def _trim(self) -> None:
        for worker in self.idle[: max(0, len(self.idle) - self._kept)]:
            self._retire(worker, Retired.SESSION_CAP)


def _session_of(worker: Worker) -> str | None:
    return worker.launch.session.uuid if worker.launch.session is not None else None
