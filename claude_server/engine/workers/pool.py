"""The pool: leases idle workers to turns, and starts and retires processes. Only starting one awaits.

A lease is a future. It is done at once if an idle worker fits; otherwise it gets the first fitting worker
that is released or started. A waiter that gave up has cancelled its future and is skipped.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable

import structlog

from claude_server.core.errors import CliFailed, SessionLost, TurnError
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.control import initialize
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script
from claude_server.engine.workers.counters import Count, Retired, shown
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.script import script_for
from claude_server.engine.workers.state import Abilities, Level, WorkerConfig, can_serve, can_take_tools
from claude_server.engine.workers.worker import Backoff, Limits, SharePolicy, Worker, monotonic

log = structlog.get_logger("claude_cli")

_TICK = 5.0
_INITIALIZE_TIMEOUT = 30.0


class Pool:
    """The workers of one binary. At most `size` without a session, and `kept_sessions` idle ones with one."""

    def __init__(
        self,
        table: ProcessTable,
        abilities: Abilities,
        level: Level,
        *,
        size: int,
        kept_sessions: int,
        limits: Limits,
        share: SharePolicy,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._table = table
        self.abilities = abilities
        self.level = level
        self._reuses = level in ("warm", "keyed")
        self._initializes_ahead = level == "warm"
        self._size = size
        self._kept_sessions = kept_sessions
        self._limits = limits
        self._share = share
        self._clock = clock
        self._idle: list[Worker] = []  # the most recently used one last
        self._busy: set[Worker] = set()
        self._starting: Counter[Launch] = Counter()
        self._waiters: list[tuple[Demand, asyncio.Future[Worker]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._backoff = Backoff()
        self._last_error: TurnError | None = None
        self._last_launch = Launch()
        self._closed = False
        self.counts: Counter[Count | Retired] = Counter()
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def __repr__(self) -> str:
        return (
            f"<Pool idle={len(self._idle)} busy={len(self._busy)} starting={self._starting.total()} "
            f"waiting={len(self._waiters)}>"
        )

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def figures(self) -> dict[str, int]:
        """The number of idle workers, and the counters, by name."""
        return {"idle": len(self._idle), **{shown(what): number for what, number in self.counts.items()}}

    @property
    def broken(self) -> str | None:
        """Why no process can be started right now, or None."""
        return self._last_error.message if self._last_error is not None else None

    def lease(self, demand: Demand) -> asyncio.Future[Worker]:
        """Lease a worker for one turn. The future may fail with a TurnError; cancel it to give up."""
        future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(_closed_error())
            return future
        worker = self._best_idle(demand)
        if worker is not None:
            self.counts[Count.REUSED if worker.turns else Count.FRESH] += 1
            self._hand_over(worker, demand, future)
        else:
            self.counts[Count.WAITED] += 1
            self._waiters.append((demand, future))
            self._retire_stale_session(demand)
            self._serve_waiters()
        self._keep_spare(demand)
        return future

    def release(self, worker: Worker, *, clean: bool) -> None:
        """End a lease. `clean`: the turn's result was read, so the process is idle and reusable."""
        self._busy.discard(worker)
        worker.mark_idle()
        if not worker.turns:
            worker.owner = None
        reason = worker.retirement_reason(self._limits, self._share) if clean else Retired.NOT_CLEAN
        if reason is None and worker.turns and not self._reuses:
            reason = Retired.ONE_TURN
        if reason is not None or self._closed:
            self._retire(worker, reason or Retired.CLOSED)
        else:
            self._idle.append(worker)
            self._trim_sessions()
        self._serve_waiters()

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        script = script_for(spec, worker, advice, self.level, self.abilities)
        self.counts[Count.STATE_STEPS] += script.before_question
        return script

    def kept_sessions(self) -> set[str]:
        """The UUIDs of the sessions whose process is idle."""
        return {worker.launch.session.uuid for worker in self._idle if worker.launch.session is not None}

    def end_session(self, session_uuid: str) -> None:
        """End a session's process if it is idle."""
        for worker in tuple(self._idle):
            if worker.launch.session is not None and worker.launch.session.uuid == session_uuid:
                self._retire(worker, Retired.SESSION_ENDED)

    def retire_idle(self, reason: Retired) -> None:
        """Retire all idle workers, sessions' too: the next turns get fresh processes."""
        for worker in tuple(self._idle):
            self._retire(worker, reason)

    async def warm_up(self) -> None:
        """Start the first worker, and wait until it is ready or has failed."""
        self._keep_spare(None)
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Retire all idle workers and fail all waiters; the process table ends the processes."""
        self._closed = True
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in [*self._idle]:
            self._retire(worker, Retired.CLOSED)
        for _, future in self._waiters:
            if not future.done():
                future.set_exception(_closed_error())
        self._waiters.clear()

    # Choosing a worker

    def _best_idle(self, demand: Demand) -> Worker | None:
        """The best idle worker: the one that needs the fewest changes, then the most recently used."""
        best: Worker | None = None
        for worker in reversed(self._idle):
            if self._can_lease(worker, demand) and (
                best is None or self._rank(worker, demand) > self._rank(best, demand)
            ):
                best = worker
        return best

    def _can_lease(self, worker: Worker, demand: Demand) -> bool:
        if self._share == "key" and worker.owner not in (None, demand.owner):
            return False
        if demand.session is not None or worker.launch.session is not None:
            return self._continues(worker, demand)
        if worker.state is None or not self._reuses:
            return worker.launch == demand.launch
        return can_serve(worker.state, demand.config, demand.launch.custom_model, self.abilities)

    def _continues(self, worker: Worker, demand: Demand) -> bool:
        """Does the worker hold the session's conversation up to its last answer?"""
        if worker.state is None:
            return worker.launch == demand.launch
        ours, theirs = worker.launch.session, demand.launch.session
        if ours is None or theirs is None:
            return False
        current, config = worker.state.current, demand.config
        same = (current.model, current.system) == (config.model, config.system)
        stands = ours.uuid == theirs.uuid and theirs.at is not None and worker.mark == theirs.at
        return stands and same and can_take_tools(worker.state, config, self.abilities)

    @staticmethod
    def _rank(worker: Worker, demand: Demand) -> int:
        # A worker that never had a system prompt is the only kind that can serve a turn without one.
        state = worker.state
        if state is None:
            return 0
        if state.holds(demand.config, demand.history):
            return 3
        if state.current == demand.config:
            return 2
        return 1 if state.current.system else 0

    def _hand_over(self, worker: Worker, demand: Demand, future: asyncio.Future[Worker]) -> None:
        self._idle.remove(worker)
        self._busy.add(worker)
        worker.owner = demand.owner
        future.set_result(worker)

    def _serve_waiters(self) -> None:
        """Serve waiters in order from the idle workers, then start processes for the rest if allowed."""
        if self._closed:
            return
        for demand, future in tuple(self._waiters):
            worker = None if future.done() else self._best_idle(demand)
            if worker is not None:
                self._hand_over(worker, demand, future)
        self._waiters = [(demand, future) for demand, future in self._waiters if not future.done()]
        coming = Counter(self._starting)
        for demand, future in self._waiters:
            if coming[demand.launch] > 0:
                coming[demand.launch] -= 1
            elif self._backoff.remaining(self._clock()):
                future.set_exception(self._backoff_error())
            elif demand.session is not None or self._make_room():
                self._start(demand.launch)
        self._waiters = [(demand, future) for demand, future in self._waiters if not future.done()]

    # Starting

    def _keep_spare(self, demand: Demand | None) -> None:
        """Keep one spare worker without a system prompt: it can serve any turn."""
        if self.level == "plain":
            return
        if demand is not None:
            if demand.launch.session is not None:
                return
            self._last_launch = demand.launch
        launch = Launch() if self._initializes_ahead else self._last_launch
        spare = self._starting[launch] or any(w.launch == launch and w.blank for w in self._idle)
        paused = self._closed or self._backoff.remaining(self._clock())
        if not spare and not paused and self._count_sessionless() < self._size:
            self._start(launch)

    def _count_sessionless(self) -> int:
        running = [w for w in (*self._idle, *self._busy) if w.launch.session is None]
        return len(running) + sum(n for launch, n in self._starting.items() if launch.session is None)

    def _make_room(self) -> bool:
        """Make room for a worker without a session; may retire the longest idle one. False: no room."""
        if self._count_sessionless() < self._size:
            return True
        idle = [w for w in self._idle if w.launch.session is None]
        if not idle:
            return False
        self._retire(min(idle, key=lambda w: w.idle_since), Retired.OTHER_KIND_WANTED)
        return True

    def _start(self, launch: Launch) -> None:
        self._starting[launch] += 1
        task = asyncio.get_running_loop().create_task(self._started(launch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _started(self, launch: Launch) -> None:
        process: CliProcess | None = None
        kept = False
        try:
            process = await self._table.start(launch)
            worker = Worker(process, launch, self, self._clock)
            if self._initializes_ahead and launch.session is None:
                await StepRunner(process).run([initialize("")], _INITIALIZE_TIMEOUT)
                worker.initialized(WorkerConfig())
            kept = True
        except SessionLost as error:
            # A matter of that session alone.
            self._fail_waiter(launch, error)
        except TurnError as error:
            self._start_failed(launch, error)
        except Exception as error:
            # The edge of a task of its own: unseen, its waiter would wait for ever.
            log.exception("a claude process could not be started")
            self._start_failed(launch, CliFailed(f"The claude CLI can't be started: {error!r}"))
        finally:
            self._starting[launch] -= 1
            self._starting += Counter()  # drops what is zero
            if process is not None and not kept:
                self._table.retire(process, now=True)
        if kept:
            self._add_started(worker)
        self._serve_waiters()

    def _add_started(self, worker: Worker) -> None:
        self.counts[Count.STARTED] += 1
        worker.mark_idle()
        if self._closed:
            self._retire(worker, Retired.CLOSED)
            return
        # In front: a worker that was used before is faster, and is leased first.
        self._idle.insert(0, worker)
        if worker.process.ended:
            # Its waiter gets it anyway, to learn why it ended: a session may be lost.
            self._serve_waiters()
            if worker in self._idle:
                self._retire(worker, Retired.ENDED)
                self._backoff.failed(self._clock())
            return
        self._backoff.reset()
        self._last_error = None
        self._serve_waiters()
        self._trim_sessions()
        if worker.launch.session is None:
            self._keep_spare(None)

    def _start_failed(self, launch: Launch, error: TurnError) -> None:
        self._backoff.failed(self._clock())
        self.counts[Count.FAILED_STARTS] += 1
        self._last_error = error
        log.warning("the claude CLI can't be started", failures=self._backoff.failures, problem=error.message)
        self._fail_waiter(launch, error)

    def _backoff_error(self) -> TurnError:
        what = self._last_error.message if self._last_error is not None else "The claude CLI failed to start."
        remaining = self._backoff.remaining(self._clock())
        kind = type(self._last_error) if self._last_error is not None else CliFailed
        return kind(f"{what} It is tried again in {math.ceil(remaining)} s.", retry_after=remaining)

    def _fail_waiter(self, launch: Launch, error: TurnError) -> None:
        for demand, future in self._waiters:
            if demand.launch == launch and not future.done():
                future.set_exception(error)
                return

    # Ending

    def _retire(self, worker: Worker, reason: Retired) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        self.counts[reason] += 1
        self._table.retire(worker.process, now=reason.kills)

    def worker_ended(self, worker: Worker) -> None:
        """An idle worker's process ended by itself."""
        if worker in self._idle:
            self._retire(worker, Retired.ENDED)

    def _retire_stale_session(self, demand: Demand) -> None:
        # An idle process of this session that doesn't hold its last answer must end before a new one starts.
        for worker in tuple(self._idle):
            if worker.launch.session is not None and worker.launch.session.uuid == demand.session:
                self._retire(worker, Retired.SESSION_MOVED_ON)

    def _trim_sessions(self) -> None:
        kept = [w for w in self._idle if w.launch.session is not None]
        for worker in kept[: max(0, len(kept) - self._kept_sessions)]:
            self._retire(worker, Retired.SESSION_CAP)

    def _tick(self) -> None:
        """Retire workers that are too old, or idle for too long; keep one spare."""
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)
        now = self._clock()
        plain = [w for w in self._idle if w.launch.session is None]
        for worker in tuple(self._idle):
            if now - worker.born >= self._limits.age:
                self._retire(worker, Retired.AGE)
            elif now - worker.idle_since >= self._limits.idle and worker not in plain[-1:]:
                self._retire(worker, Retired.IDLE)
        if not any(w.launch.session is None for w in self._idle):
            self._keep_spare(None)


def _closed_error() -> TurnError:
    return CliFailed("The claude CLI was replaced, or the server is going down.")
