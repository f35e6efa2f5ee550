"""Workers that serve anybody's turns, as far as the share policy lets them.

One that never had a system prompt, a *blank* one, can serve any turn; a system prompt can be replaced, never
taken away. So `warm` workers are kept, used ones included, and one of them blank, if there is room. They are
started one after the other, and never while a turn waits: whoever waits has the processors. One that must go
while nobody needs it, for its age or because it idled with somebody's conversation in it, has its successor
first. So a burst after a quiet hour finds as many as one after the start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.workers.counters import Count, Counted, Retired
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.population import Population
from claude_server.engine.workers.starter import Starter
from claude_server.engine.workers.state import Abilities, Level, can_serve
from claude_server.engine.workers.suspended_workers import SuspendedWorkers
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker


class SharedWorkers(Population):
    """At most `size` processes, those that serve, that are being started and that wait at calls included."""

    def __init__(
        self,
        table: ProcessTable,
        starter: Starter,
        counts: Counter[Counted],
        clock: Callable[[], float],
        *,
        abilities: Abilities,
        level: Level,
        share: SharePolicy,
        size: int,
        warm: int,
        suspended: SuspendedWorkers,
    ) -> None:
        super().__init__(table, starter, counts, clock, initializes_ahead=level == "warm")
        self._abilities = abilities
        self._level = level
        self._share = share
        self._size = size
        self._warm = warm
        self._suspended = suspended
        self._last_launch = Launch()

    def note(self, demand: Demand) -> None:
        """A turn came: the next ones may want a process of the same kind."""
        if demand.launch.conversation is None:
            self._last_launch = demand.launch
        self.keep_warm()

    def keep_warm(self, more: int = 0) -> None:
        """Start the next of the workers that are kept, if one is missing. `more`: so many beyond `warm`."""
        if self._level == "plain" or not self._warm:
            return
        launch = Launch() if self._initializes_ahead else self._last_launch
        blank = any(worker.launch == launch and worker.blank for worker in self.idle)
        enough = blank and self._count >= self._warm + more
        hindered = self._closed or self._starter.pause or self.starting or self.waiting
        if not enough and not hindered and self._count < self._size:
            self._start(launch)

    def release(self, worker: Worker, reason: Retired | None) -> None:
        if worker.process.loaded:
            self._table.forget_transcript(worker.process)
        super().release(worker, reason)

    def let_go(self, worker: Worker) -> None:
        if worker.process.loaded:
            self._table.forget_transcript(worker.process)
        super().let_go(worker)

    def look_after(self, now: float, limits: Limits) -> None:
        """Retire idle workers that are too old, or idle for too long, beside those that are kept."""
        successors = 0
        for worker in sorted(self.idle, key=lambda worker: worker.born):
            old, long = now - worker.born >= limits.age, now - worker.idle_since >= limits.idle
            must_go = old or (long and worker.turns > 0)
            if (long and len(self.idle) > self._warm) or (must_go and self._can_go):
                self._retire(worker, Retired.AGE if old else Retired.IDLE)
            elif must_go:
                successors = 1
        self.keep_warm(successors)

    @property
    def _can_go(self) -> bool:
        """Can an idle worker be done without, or has its successor no place as long as it is there?"""
        return len(self.idle) + len(self.busy) > self._warm or self._count >= self._size

    @property
    def _count(self) -> int:
        return len(self.idle) + len(self.busy) + self.starting + self._suspended.shared

    def _fits(self, worker: Worker, demand: Demand) -> bool:
        if self._share == "key" and worker.owner not in (None, demand.owner):
            return False
        if worker.state is None or self._level not in ("warm", "keyed"):
            return worker.launch == demand.launch
        if demand.launch.conversation and not worker.state.holds(demand.config, demand.history):
            # A process of its own has read the messages before this one is told of them.
            return False
        return can_serve(worker.state, demand.config, demand.launch.custom_model, self._abilities)

    def _rank(self, worker: Worker, demand: Demand) -> int:
        state = worker.state
        if state is None:
            return 0
        if state.holds(demand.config, demand.history):
            return 3
        if state.current == demand.config:
            return 2
        # A blank one is left for a turn without a system prompt.
        return 1 if state.current.system else 0

    def _has_room(self) -> bool:
        if self._count < self._size:
            return True
        if not self.idle:
            # Rather than wait for another turn to end.
            return self._suspended.make_room()
        self._retire(min(self.idle, key=lambda w: w.idle_since), Retired.OTHER_KIND_WANTED)
        return True

    def _add(self, worker: Worker) -> bool:
        usable = super()._add(worker)
        if worker.process.loaded:
            self._counts[Count.LOADED] += 1
        if usable and worker in self.idle and worker.launch.conversation is not None:
            # It was started for one turn, which didn't wait.
            self._retire(worker, Retired.NOT_WANTED)
        if usable:
            self.keep_warm()
        return usable
