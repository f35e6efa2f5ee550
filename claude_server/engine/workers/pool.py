"""The pool: two populations behind one lease, those who serve anybody and those who serve one session each.

What a worker may become and who moves it is told in population.py. The pool decides which population a turn
belongs to, why a worker serves no further turn, and what they share: one starter, whose pause after a failed
start holds for both, one set of counters, and one timer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script
from claude_server.engine.workers.counters import Count, Retired, shown
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.script import script_for
from claude_server.engine.workers.session_workers import SessionWorkers
from claude_server.engine.workers.shared import SharedWorkers
from claude_server.engine.workers.starter import Starter
from claude_server.engine.workers.state import Abilities, Level
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker, monotonic

_TICK = 5.0


class Pool:
    """The workers of one binary. At most `size` without a session, of which `warm` are kept ready, and
    `kept_sessions` idle ones with one."""

    def __init__(
        self,
        table: ProcessTable,
        abilities: Abilities,
        level: Level,
        *,
        size: int,
        warm: int,
        kept_sessions: int,
        limits: Limits,
        share: SharePolicy,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.abilities = abilities
        self.counts: Counter[Count | Retired] = Counter()
        self._level = level
        self._limits = limits
        self._share = share
        self._clock = clock
        self._starter = Starter(table, self, clock, self.counts)
        common = (table, self._starter, self.counts, clock)
        self._shared = SharedWorkers(
            *common, abilities=abilities, level=level, share=share, size=size, warm=warm
        )
        self._sessions = SessionWorkers(*common, abilities=abilities, share=share, kept=kept_sessions)
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def __repr__(self) -> str:
        both = (self._shared, self._sessions)
        return (
            f"<Pool idle={self.idle} busy={sum(len(p.busy) for p in both)} "
            f"starting={sum(p.starting for p in both)} waiting={sum(p.waiting for p in both)}>"
        )

    @property
    def idle(self) -> int:
        return len(self._shared.idle) + len(self._sessions.idle)

    @property
    def figures(self) -> dict[str, int]:
        """The number of idle workers, and the counters, by name."""
        return {"idle": self.idle, **{shown(what): number for what, number in self.counts.items()}}

    @property
    def broken(self) -> str | None:
        """Why no process can be started right now, or None."""
        return self._starter.problem.message if self._starter.problem is not None else None

    # A turn

    def lease(self, demand: Demand) -> asyncio.Future[Worker]:
        """Lease a worker for one turn. The future may fail with a TurnError; cancel it to give up."""
        if demand.session is not None:
            return self._sessions.lease(demand)
        lease = self._shared.lease(demand)
        self._shared.note(demand)
        return lease

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        script = script_for(spec, worker, advice, self._level, self.abilities)
        self.counts[Count.STATE_STEPS] += script.before_question
        return script

    def release(self, worker: Worker, *, clean: bool) -> None:
        """End a lease. `clean`: the turn's result was read, so the process is idle and reusable."""
        worker.mark_idle()
        if not worker.turns:
            worker.owner = None
        self._population_of(worker).release(worker, self._retirement(worker, clean=clean))

    def _retirement(self, worker: Worker, *, clean: bool) -> Retired | None:
        """Why the worker must not serve another turn, or None."""
        if not clean:
            return Retired.NOT_CLEAN
        reason = worker.retirement_reason(self._limits, self._share)
        if reason is None and worker.turns and self._level not in ("warm", "keyed"):
            return Retired.ONE_TURN
        return reason

    def worker_ended(self, worker: Worker) -> None:
        """An idle worker's process ended by itself."""
        self._population_of(worker).ended(worker)

    def _population_of(self, worker: Worker) -> SharedWorkers | SessionWorkers:
        return self._shared if worker.launch.session is None else self._sessions

    # Idle workers

    def kept_sessions(self) -> set[str]:
        """The UUIDs of the sessions whose process is idle."""
        return self._sessions.uuids()

    def end_session(self, session_uuid: str) -> None:
        """End a session's process if it is idle."""
        self._sessions.end(session_uuid, Retired.SESSION_ENDED)

    def retire_idle(self, reason: Retired) -> None:
        """Retire all idle workers, sessions' too: the next turns get fresh processes."""
        self._shared.retire_idle(reason)
        self._sessions.retire_idle(reason)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)
        now = self._clock()
        self._sessions.look_after(now, self._limits)
        self._shared.look_after(now, self._limits)

    # Beginning and end

    async def warm_up(self) -> None:
        """Start the first worker, and wait until it is ready or has failed. The others follow."""
        self._shared.keep_warm()
        await self._starter.wait()

    async def close(self) -> None:
        """Retire all idle workers and fail all waiters; the process table ends the processes."""
        self._timer.cancel()
        self._shared.refuse()
        self._sessions.refuse()
        await self._starter.close()
        self._shared.close()
        self._sessions.close()
