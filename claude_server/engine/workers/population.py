"""Workers of one kind and the turns that wait for them. Only starting a worker awaits.

States. A worker is in one of these, and one place moves it from each to the next:

    starting --_start_ended--> idle --_hand_over--> busy --release--> idle
        |                       |                                      |
        +---- failed            +--------------- _retire --------------+--> retired

`starting` is a number per Launch: the process is the starter's until it is there. An *idle* worker listens to
its process by itself; a *busy* one belongs to one lease, and its attempt listens. A *retired* one is the
process table's, which sees the process to its end; nothing brings a worker back from there.

A *waiter* is a turn that no idle worker fitted. It is in the list from `lease` until it has been answered:
with a worker, or with an error. Waiters are served in their order, by each worker that becomes idle; one that
none fits holds nobody up. For each that is left a process is started, if there is room for one and none is
coming that was started for the same Launch. That process isn't tied to the waiter: whichever comes first,
a release or the start, serves it, and what is left over becomes idle.

Who may move what: everything here runs in the event loop, between two awaits of others, so each method leaves
every worker in exactly one state. A cancelled owner of a lease calls nothing but `release`, which never
awaits. A waiter that gave up has cancelled its future: it refuses the worker that it is offered, which goes
to the next one or stays idle; the start that it caused goes on, and its worker stays. A hand-over that nobody
has noticed yet is the attempt's, which gives the worker back unused.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from claude_server.core.errors import CliFailed, TurnError
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.workers.counters import Count, Counted, Retired
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.starter import Starter
from claude_server.engine.workers.worker import Worker

log = structlog.get_logger("claude_cli")


class Waiter:
    """A turn that wants a worker. Whoever waits cancels the future to give up."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()

    def take(self, worker: Worker) -> bool:
        """Take the worker. False: it is refused, nobody waits here any more."""
        if self.future.done():
            return False
        self.future.set_result(worker)
        return True

    def fail(self, error: TurnError) -> bool:
        """Tell why there is no worker. False: nobody waits here any more."""
        if self.future.done():
            return False
        self.future.set_exception(error)
        return True


class Population(ABC):
    """`initializes_ahead`: a process gets its `initialize` before there is a turn for it. `counts` are the
    pool's."""

    def __init__(
        self,
        table: ProcessTable,
        starter: Starter,
        counts: Counter[Counted],
        clock: Callable[[], float],
        *,
        initializes_ahead: bool,
    ) -> None:
        self._table = table
        self._starter = starter
        self._counts = counts
        self._clock = clock
        self._initializes_ahead = initializes_ahead
        self.idle: list[Worker] = []  # the most recently used one last
        self.busy: set[Worker] = set()
        self._starting: Counter[Launch] = Counter()
        self._waiters: list[Waiter] = []
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} idle={len(self.idle)} busy={len(self.busy)} starting={self.starting} "
            f"waiting={self.waiting}>"
        )

    @property
    def starting(self) -> int:
        return self._starting.total()

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def lease(self, demand: Demand) -> asyncio.Future[Worker]:
        """Lease a worker for one turn. The future may fail with a TurnError; cancel it to give up."""
        waiter = Waiter(demand)
        worker = self._best(demand)
        if self._closed:
            waiter.fail(_closed_error())
        elif worker is not None:
            self._counts[Count.REUSED if worker.turns else Count.FRESH] += 1
            self._hand_over(worker, waiter)
        else:
            self._counts[Count.WAITED] += 1
            self._wait(waiter)
        return waiter.future

    def release(self, worker: Worker, reason: Retired | None) -> None:
        """End a lease. `reason`: why the worker serves nobody else."""
        self.busy.discard(worker)
        if reason is not None or self._closed:
            self._retire(worker, reason or Retired.CLOSED)
        else:
            self._keep(worker)
        self._serve()

    def take_back(self, worker: Worker, demand: Demand) -> asyncio.Future[Worker]:
        """Lease a worker that had been let go."""
        waiter = Waiter(demand)
        waiter.take(worker)
        self.busy.add(worker)
        return waiter.future

    def let_go(self, worker: Worker) -> None:
        """End a lease of a worker that isn't this population's any more."""
        self.busy.discard(worker)
        self._serve()

    def ended(self, worker: Worker) -> None:
        """An idle worker's process ended by itself."""
        if worker in self.idle:
            self._retire(worker, Retired.ENDED)

    def retire_idle(self, reason: Retired) -> None:
        """Retire all idle workers."""
        for worker in tuple(self.idle):
            self._retire(worker, reason)

    def refuse(self) -> None:
        """From now on lease and keep nothing."""
        self._closed = True

    def close(self) -> None:
        """Retire all idle workers and fail all waiters, after `refuse` and the end of all starts."""
        self.retire_idle(Retired.CLOSED)
        for waiter in self._waiters:
            waiter.fail(_closed_error())
        self._waiters.clear()

    # What tells one kind from another

    @abstractmethod
    def _fits(self, worker: Worker, demand: Demand) -> bool:
        """Can this idle worker serve the turn?"""

    def _rank(self, worker: Worker, demand: Demand) -> int:
        """How little has to be changed of a worker that fits; more is better."""
        return 0

    @abstractmethod
    def _has_room(self) -> bool:
        """May a process be started for a waiter? May retire an idle worker to make room."""

    # Transitions

    def _best(self, demand: Demand) -> Worker | None:
        """The worker that needs the fewest changes, then the most recently used; None if none fits."""
        fitting = [worker for worker in reversed(self.idle) if self._fits(worker, demand)]
        return max(fitting, key=lambda worker: self._rank(worker, demand), default=None)

    def _hand_over(self, worker: Worker, waiter: Waiter) -> None:
        if not waiter.take(worker):
            return
        self.idle.remove(worker)
        self.busy.add(worker)
        worker.owner = waiter.demand.owner
        log.debug("a worker is leased", worker=worker.process.pid)

    def _wait(self, waiter: Waiter) -> None:
        self._waiters.append(waiter)
        log.debug("a turn waits for a worker", waiting=self.waiting)
        self._serve()

    def _keep(self, worker: Worker) -> None:
        self.idle.append(worker)
        log.debug("a worker is idle again", worker=worker.process.pid)

    def _serve(self) -> None:
        """Serve waiters in order from the idle workers, then start processes for the rest if allowed."""
        if self._closed:
            return
        for waiter in self._waiters:
            worker = self._best(waiter.demand)
            if worker is not None:
                self._hand_over(worker, waiter)
        self._drop_answered()
        coming = Counter(self._starting)
        for waiter in self._waiters:
            launch = waiter.demand.launch
            if coming[launch] > 0:
                coming[launch] -= 1
            elif self._starter.pause:
                waiter.fail(self._starter.refusal())
            elif self._has_room():
                self._start(launch)
        self._drop_answered()

    def _drop_answered(self) -> None:
        self._waiters = [waiter for waiter in self._waiters if not waiter.future.done()]

    def _start(self, launch: Launch) -> None:
        self._starting[launch] += 1
        log.debug("a worker is being started", session=launch.session is not None)
        over = partial(self._start_ended, launch)
        # One that reads a conversation hears of its turn at once.
        ahead = self._initializes_ahead and launch.conversation is None
        self._starter.start(launch, initialize_ahead=ahead, hurry=self._is_waited_for, over=over)

    def _is_waited_for(self) -> bool:
        return bool(self._waiters)

    def _start_ended(self, launch: Launch, result: Worker | TurnError | None) -> None:
        self._starting[launch] -= 1
        self._starting += Counter()  # drops what is zero
        if isinstance(result, Worker):
            self._add(result)
        elif result is not None:
            for waiter in self._waiters:
                if waiter.demand.launch == launch and waiter.fail(result):
                    break
        self._serve()

    def _add(self, worker: Worker) -> bool:
        """Take a worker in that was started. False: it can't be used."""
        self._counts[Count.STARTED] += 1
        worker.mark_idle()
        if self._closed:
            self._retire(worker, Retired.CLOSED)
            return False
        log.debug("a worker has been started", worker=worker.process.pid)
        # In front: a worker that was used before is faster, and is leased first.
        self.idle.insert(0, worker)
        if worker.process.ended:
            # Its waiter gets it anyway, to learn why it ended: a session may be lost.
            self._serve()
            if worker in self.idle:
                self._retire(worker, Retired.ENDED)
                self._starter.ended_at_once()
            return False
        self._starter.succeeded()
        self._serve()
        return True

    def _retire(self, worker: Worker, reason: Retired) -> None:
        if worker in self.idle:
            self.idle.remove(worker)
        self._counts[reason] += 1
        log.debug("a worker is retired", worker=worker.process.pid, reason=reason.value)
        self._table.retire(worker.process, now=reason.kills)


def _closed_error() -> TurnError:
    return CliFailed("The claude CLI was replaced, or the server is going down.")
