"""Starts processes for a pool's populations, a task each. After a failure none is started for a while."""

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
from claude_server.engine.protocol.control import exercise, initialize
from claude_server.engine.workers.counters import Count, Counted
from claude_server.engine.workers.state import WorkerConfig
from claude_server.engine.workers.worker import Backoff, Worker, WorkerSource

log = structlog.get_logger("claude_cli")

_INITIALIZE_TIMEOUT = 30.0


class Starter:
    """`problem`: why the last start failed; None once one has succeeded. `counts` are the pool's."""

    def __init__(
        self,
        table: ProcessTable,
        source: WorkerSource,
        clock: Callable[[], float],
        counts: Counter[Counted],
    ) -> None:
        self.problem: TurnError | None = None
        self._table = table
        self._source = source
        self._clock = clock
        self._counts = counts
        self._backoff = Backoff()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pause(self) -> float:
        """Seconds until a process may be started again."""
        return self._backoff.remaining(self._clock())

    def refusal(self) -> TurnError:
        """What a turn is told that would need a start during the pause."""
        pause, problem = self.pause, self.problem
        what = problem.message if problem is not None else "The claude CLI failed to start."
        kind = type(problem) if problem is not None else CliFailed
        return kind(f"{what} It is tried again in {math.ceil(pause)} s.", retry_after=pause)

    def start(
        self,
        launch: Launch,
        *,
        initialize_ahead: bool,
        hurry: Callable[[], bool],
        over: Callable[[Worker | TurnError | None], None],
    ) -> None:
        """Start a process. `over` is called once, with a worker or what went wrong; None: it was stopped.
        `hurry`: does somebody wait for it? Else an initialized one is exercised, too."""
        task = asyncio.get_running_loop().create_task(self._run(launch, initialize_ahead, hurry, over))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self,
        launch: Launch,
        initialize_ahead: bool,
        hurry: Callable[[], bool],
        over: Callable[[Worker | TurnError | None], None],
    ) -> None:
        process: CliProcess | None = None
        result: Worker | TurnError | None = None
        try:
            process = await self._table.start(launch)
            worker = Worker(process, launch, self._source, self._clock)
            if initialize_ahead:
                runner = StepRunner(process)
                await runner.run([initialize("")], _INITIALIZE_TIMEOUT)
                worker.initialized(WorkerConfig())
                if not hurry():
                    await runner.run(exercise(), _INITIALIZE_TIMEOUT)
                    worker.exercised()
            result = worker
        except SessionLost as error:
            # A matter of that session alone.
            result = error
        except TurnError as error:
            result = self._failed(error)
        except Exception as error:
            # The edge of a task of its own: unseen, its waiter would wait for ever.
            log.exception("a claude process could not be started")
            result = self._failed(CliFailed(f"The claude CLI can't be started: {error!r}"))
        finally:
            if process is not None and not isinstance(result, Worker):
                self._table.retire(process, now=True)
            over(result)

    def succeeded(self) -> None:
        """A worker that was started is there, and alive."""
        self._backoff.reset()
        self.problem = None

    def ended_at_once(self) -> None:
        """A worker that was started had ended before anybody used it."""
        self._backoff.failed(self._clock())

    def _failed(self, error: TurnError) -> TurnError:
        self._backoff.failed(self._clock())
        self._counts[Count.FAILED_STARTS] += 1
        self.problem = error
        log.warning("the claude CLI can't be started", failures=self._backoff.failures, problem=error.message)
        return error

    async def wait(self) -> None:
        """Wait until no process is being started."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop all starts."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
