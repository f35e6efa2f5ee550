"""Counts the tokens of requests on a process of its own kind, which is never asked for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from claude_server.core.model import Message
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol.control import Step
from claude_server.engine.protocol.counting import (
    ONE_WORD,
    ONE_WORD_TOKENS,
    countable,
    counted,
    counting_steps,
)
from claude_server.engine.workers.attempt_spec import AttemptSpec
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.pool import Pool
from claude_server.engine.workers.state import Abilities, WorkerConfig
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker

# Seconds for the whole of a count, once there is a process.
_TIMEOUT = 20.0
# What resets a process to the account's default model.
_DEFAULT = "default"
_WORD = (Message("user", (ONE_WORD,)),)


class TokenCounting:
    """Counts on one process, which is started for the first count. Counts wait for each other; turns neither
    wait for them nor they for turns."""

    def __init__(
        self, table: ProcessTable, abilities: Abilities, *, limits: Limits, share: SharePolicy
    ) -> None:
        self.pool = Pool(
            table, abilities, "warm", size=1, warm=0, kept_sessions=0, limits=limits, share=share
        )
        # By model: what the CLI counts beside a conversation of one word.
        self._besides: dict[str, int] = {}

    async def count(self, spec: AttemptSpec) -> int:
        """The tokens of the request's prompt. Raises TurnError."""
        turn = spec.request.turn
        asked = countable(turn.system, spec.config.tools, (*turn.history, turn.question))
        worker = await self._leased(turn.owner)
        clean = False
        try:
            await self._set_up(worker, turn.model or _DEFAULT)
            steps = counting_steps(asked.messages, None, spec.config.resolved_model)
            count = await self._asked(worker, steps) - self._besides[turn.model or _DEFAULT]
            clean = True
        finally:
            # Synchronous: whoever asked may have left.
            self.pool.release(worker, clean=clean)
        return max(1, count + asked.more)

    async def _leased(self, owner: str) -> Worker:
        lease = self.pool.lease(Demand(WorkerConfig(), Launch(), owner))
        try:
            return await lease
        except asyncio.CancelledError:
            if lease.done() and not lease.cancelled() and lease.exception() is None:
                self.pool.release(lease.result(), clean=True)
            raise

    async def _set_up(self, worker: Worker, model: str) -> None:
        """Have the process count for this model, and know what it counts beside a conversation."""
        assert worker.state is not None
        worker.turns += 1
        change = None if model == (worker.state.current.model or _DEFAULT) else model
        if change is not None or model not in self._besides:
            alone = await self._asked(worker, counting_steps(_WORD, change))
            self._besides[model] = alone - ONE_WORD_TOKENS
            worker.state = worker.state.after(WorkerConfig(model=model), None)

    @staticmethod
    async def _asked(worker: Worker, steps: Sequence[Step]) -> int:
        answers = await StepRunner(worker.process).run(steps, _TIMEOUT)
        return counted(answers[-1])
