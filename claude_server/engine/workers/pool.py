"""The pool: two populations behind one lease, those who serve anybody and those who serve one session each.
Workers of both that wait at calls are a third one, which is asked first.

What a worker may become and who moves it is told in population.py. The pool decides which population a turn
belongs to, why a worker serves no further turn, and what they share: one starter, whose pause after a failed
start holds for both, one set of counters, and one timer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.costs import CostRequest
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script
from claude_server.engine.workers.counters import Count, Counted, Retired, shown
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.script import Use, script_for
from claude_server.engine.workers.session_workers import SessionWorkers
from claude_server.engine.workers.shared import SharedWorkers
from claude_server.engine.workers.starter import Starter
from claude_server.engine.workers.state import Abilities, Level
from claude_server.engine.workers.suspended_workers import SuspendedWorkers
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker, monotonic

_TICK = 5.0


class Pool:
    """The workers of one binary. At most `size` without a session, of which `warm` are kept ready, and
    `kept_sessions` idle ones with one; of both at most `suspended` that wait at calls, `suspended_idle`
    seconds each."""

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
        suspended: int = 0,
        suspended_idle: float = 300.0,
        cost_request: CostRequest = "get_usage",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.abilities = abilities
        self.counts: Counter[Counted] = Counter()
        self._table = table
        self._level = level
        self._limits = limits
        self._share = share
        self._clock = clock
        self._starter = Starter(table, self, clock, self.counts)
        common = (table, self._starter, self.counts, clock)
        waits = suspended > 0 and abilities.resumes and level in ("warm", "keyed")
        self._use = Use(level, abilities, waits, cost_request)
        self._suspended = SuspendedWorkers(
            table, self.counts, clock, limit=suspended if waits else 0, idle=suspended_idle
        )
        self._shared = SharedWorkers(
            *common,
            abilities=abilities,
            level=level,
            share=share,
            size=size,
            warm=warm,
            suspended=self._suspended,
        )
        self._sessions = SessionWorkers(*common, abilities=abilities, share=share, kept=kept_sessions)
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def __repr__(self) -> str:
        both = (self._shared, self._sessions)
        return (
            f"<Pool idle={self.idle} suspended={len(self._suspended)} busy={sum(len(p.busy) for p in both)} "
            f"starting={sum(p.starting for p in both)} waiting={sum(p.waiting for p in both)}>"
        )

    @property
    def idle(self) -> int:
        return len(self._shared.idle) + len(self._sessions.idle)

    @property
    def resting(self) -> int:
        """How many workers serve no turn: idle ones, and those that wait at calls."""
        return self.idle + len(self._suspended)

    @property
    def figures(self) -> dict[str, int]:
        """The numbers of idle workers and of those that wait at calls, and the counters, by name."""
        now = {"idle": self.idle, "waiting at calls": len(self._suspended)}
        return {**now, **{shown(what): number for what, number in self.counts.items()}}

    @property
    def broken(self) -> str | None:
        """Why no process can be started right now, or None."""
        return self._starter.problem.message if self._starter.problem is not None else None

    # A turn

    def lease(self, demand: Demand) -> asyncio.Future[Worker]:
        """Lease a worker for one turn. The future may fail with a TurnError; cancel it to give up."""
        waiting = self._suspended.lease(demand)
        if waiting is not None:
            return self._population_of(waiting).take_back(waiting, demand)
        if demand.session is not None:
            # It doesn't stand where the turn does: it must end before another process of its session starts.
            self._suspended.end_session(demand.session, Retired.SESSION_MOVED_ON)
            return self._sessions.lease(demand)
        lease = self._shared.lease(demand)
        self._shared.note(demand)
        return lease

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        script = script_for(spec, worker, advice, self._use)
        session = worker.launch.session
        if session is not None and self._use.waits:
            script = replace(script, is_kept=partial(self._table.has_event, session.uuid))
        self.counts[Count.STATE_STEPS] += script.before_question
        return script

    def release(self, worker: Worker, *, clean: bool) -> None:
        """End a lease. `clean`: the turn's result was read, so the process is idle and reusable."""
        worker.mark_idle()
        if not worker.turns:
            worker.owner = None
        if worker.suspended is not None:
            self._suspended.add(worker, self._retirement(worker, clean=clean))
            self._population_of(worker).let_go(worker)
            return
        self._population_of(worker).release(worker, self._retirement(worker, clean=clean))

    def _retirement(self, worker: Worker, *, clean: bool) -> Retired | None:
        """Why the worker must not serve another turn, or None."""
        if not clean:
            return Retired.NOT_CLEAN
        if worker.suspended is not None:
            # It serves nobody else, whatever the policy.
            return worker.retirement_reason(self._limits, "any")
        reason = worker.retirement_reason(self._limits, self._share)
        if reason is None and worker.turns and self._level not in ("warm", "keyed"):
            return Retired.ONE_TURN
        return reason

    def worker_ended(self, worker: Worker) -> None:
        """An idle worker's process, or one that waits, ended by itself."""
        self._suspended.ended(worker)
        self._population_of(worker).ended(worker)

    def _population_of(self, worker: Worker) -> SharedWorkers | SessionWorkers:
        return self._shared if worker.launch.session is None else self._sessions

    # Idle workers

    def kept_sessions(self) -> set[str]:
        """The UUIDs of the sessions whose process is idle, or waits at calls."""
        return self._sessions.uuids() | self._suspended.sessions()

    def end_session(self, session_uuid: str) -> None:
        """End a session's process if it is idle, or waits at calls."""
        self._suspended.end_session(session_uuid, Retired.SESSION_ENDED)
        self._sessions.end(session_uuid, Retired.SESSION_ENDED)

    def retire_idle(self, reason: Retired) -> None:
        """Retire all workers that serve no turn, sessions' too: the next turns get fresh processes."""
        self._suspended.retire_all(reason)
        self._shared.retire_idle(reason)
        self._sessions.retire_idle(reason)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)
        now = self._clock()
        self._suspended.look_after(now)
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
        self._suspended.refuse()
        await self._starter.close()
        self._shared.close()
        self._sessions.close()
