"""Processes that serve one turn each: those with tools of the CLI's own.

They run in the operator's folder and do what one caller's model asks for. So nothing else is ever said to
one, and its end takes all along that it started.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import structlog

from claude_server.core.cli_tools import CliTool
from claude_server.core.errors import CliFailed, TurnError
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol import control
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.control import Dialogue
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script
from claude_server.engine.workers.state import Abilities, Level
from claude_server.engine.workers.worker import Worker, monotonic

TOOL_NOT_PERMITTED = (
    "This is not allowed here, and nobody is there to be asked: tools may do what the operator and the "
    "request allow, and those for files stay inside the work folder."
)

log = structlog.get_logger("claude_cli")


class OneShotWorkers:
    """A source of workers for one turn each. How many there are at a time is the admission's matter.

    `tools`: the CLI's own, as they work in `folder`; none where they aren't used. `level`: how the CLI is
    told of earlier messages.
    """

    # Nothing is made use of: the list of tools is the CLI's own, and there is no second turn.
    abilities = Abilities()

    def __init__(
        self,
        table: ProcessTable,
        folder: Path | None,
        tools: tuple[CliTool, ...],
        level: Level,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.tools = () if level == "plain" else tools
        self._folder = folder
        self._as_text = level == "text"
        self._table = table
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.turns = 0

    def lease(self, spec: AttemptSpec) -> asyncio.Future[Worker]:
        """A process started for this turn. The future may hold a TurnError; cancel it to give up."""
        config, request = spec.config, spec.request
        launch = Launch(
            config.model,
            request.session,
            effort=config.effort,
            flags=config.flags,
            tools=request.turn.cli_tools,
            folder=str(self._folder),
            trace=str(uuid.uuid4()),
        )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Worker] = loop.create_future()
        task = loop.create_task(self._start(launch, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _start(self, launch: Launch, future: asyncio.Future[Worker]) -> None:
        process: CliProcess | None = None
        try:
            process = await self._table.start(launch)
        except TurnError as error:
            _fail(future, error)
        except Exception as error:
            # The edge of a task of its own: unseen, its waiter would wait for ever.
            log.exception("a claude process could not be started")
            _fail(future, CliFailed(f"The claude CLI can't be started: {error!r}"))
        if process is None:
            return
        if future.done():
            self._table.retire(process, now=True)
            return
        self.turns += 1
        future.set_result(Worker(process, launch, self, self._clock))

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        """What is said to `worker` for this turn."""
        request = spec.request
        translator = TurnTranslator(
            engine="tools",
            restored_cost=spec.restored_cost,
            stop=spec.stop,
            runs_tools=True,
            model=request.turn.model,
            advice=advice,
        )
        steps = [control.initialize(spec.config.system)]
        if self._as_text:
            steps += control.flattened(request.history, request.turn.question)
        else:
            steps += control.conversation(request.history, request.turn.question, spec.config.resolved_model)
        return Script(Dialogue(steps, translator, deny_message=TOOL_NOT_PERMITTED), translator, spec)

    def release(self, worker: Worker, *, clean: bool) -> None:
        """The turn is over, and so is its process."""
        self._table.retire(worker.process, now=True)

    def worker_ended(self, worker: Worker) -> None:
        """Never idle, so nobody listens but its turn."""

    async def close(self) -> None:
        """Wait until no process is being started; the table ends those that run."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _fail(future: asyncio.Future[Worker], error: TurnError) -> None:
    if not future.done():
        future.set_exception(error)
