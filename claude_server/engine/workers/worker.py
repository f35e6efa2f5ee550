"""A worker: one warm claude process, with its state, its owner and its age."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import psutil

from claude_server.core.model import Message, ToolResult
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.frames import Frame
from claude_server.engine.protocol.mcp import LONGEST_RESULT
from claude_server.engine.protocol.results import PLAIN_RESULT
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script
from claude_server.engine.workers.counters import Retired
from claude_server.engine.workers.state import Abilities, WorkerConfig, WorkerState
from claude_server.engine.workers.suspended import Suspended

SharePolicy = Literal["key", "any", "never"]
_INITIAL_BACKOFF = 0.5
_MAX_BACKOFF = 30.0
# Reading the memory costs some 20 us: not worth it after each turn.
# Seconds. A process that was used a moment ago is taken to be alive.
_LONG_IDLE = 5.0
_MEMORY_CHECK_TURNS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is retired: number of turns, age in seconds, idle seconds, bytes of memory."""

    turns: int = 1000
    age: float = 3600.0
    idle: float = 300.0
    memory: int = 400 * 1024 * 1024


class WorkerSource(Protocol):
    """What leases out a worker and takes it back. `abilities`: what its processes can do."""

    @property
    def abilities(self) -> Abilities: ...

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        """What is said to the worker for a turn. Changes nothing of it."""

    def release(self, worker: Worker, *, clean: bool) -> None: ...

    def worker_ended(self, worker: Worker) -> None: ...


class Backoff:
    """Exponential backoff: `first` seconds after a failure, doubled each time, 30 s at most."""

    def __init__(self, first: float = _INITIAL_BACKOFF) -> None:
        self._first = self._next = first
        self.failures = 0
        self._until = 0.0

    def failed(self, now: float) -> None:
        self.failures += 1
        self._until = now + self._next
        self._next = min(_MAX_BACKOFF, 2 * self._next)

    def reset(self) -> None:
        self.failures, self._until, self._next = 0, 0.0, self._first

    def remaining(self, now: float) -> float:
        """Seconds until the next attempt is allowed."""
        return max(0.0, self._until - now)


class Worker:
    """One claude process. While it serves a turn its frames go to the attempt, otherwise to this object.

    `state` None: not initialized yet; its first turn does that. `owner`: id of the key whose conversations it
    has seen, None before its first turn. `cost_usd`: the process's total so far. `mark`: UUID of the last
    answered event. `suspended`: what it holds, where it waits at its calls, and `results` those of the turn
    that it was leased to for going on; the turn's beginning takes both.
    """

    def __init__(
        self,
        process: CliProcess,
        launch: Launch,
        source: WorkerSource,
        clock: Callable[[], float],
    ) -> None:
        self.process = process
        self.launch = launch
        self.state: WorkerState | None = None
        self.owner: str | None = None
        self.turns = 0
        self.cost_usd = 0.0
        self.mark: str | None = None
        self.suspended: Suspended | None = None
        self.results: tuple[ToolResult, ...] = ()
        self._clock = clock
        self.born = clock()
        self.idle_since = self.born
        self.source = source

    def __repr__(self) -> str:
        return f"<Worker {self.process.pid} turns={self.turns} {self.state}>"

    @property
    def idled_long(self) -> bool:
        """Has the process idled for so long that it may have been stopped meanwhile, or be stuck?"""
        return self._clock() - self.idle_since >= _LONG_IDLE

    @property
    def blank(self) -> bool:
        """Has the process never had a system prompt?"""
        return self.state is None or not self.state.current.system

    def first_state(self, config: WorkerConfig) -> WorkerState:
        """The state after `initialize`: with its first system prompt, and the tools of its first turn."""
        begun = WorkerConfig(model=self.launch.model, system=config.system, tools=config.tools)
        abilities = self.source.abilities
        return WorkerState.initialized(
            begun,
            self.launch.custom_model,
            tools_in_body=abilities.tools_in_body,
            continues_tools=abilities.stable_prefix or abilities.resumes,
        )

    def initialized(self, config: WorkerConfig) -> None:
        """Record `initialize`."""
        self.state = self.first_state(config)

    def exercised(self) -> None:
        """Record that messages were put in that no turn is about: the first turn empties the context."""
        assert self.state is not None
        self.state = replace(self.state, messages=None)

    # What a turn does to it

    def begin(self, spec: AttemptSpec, advice: LoginAdvice) -> Script:
        """Begin a turn: what is to be said to the process, which is in it from now on."""
        script = self.source.script(spec, self, advice)
        self.suspended, self.results = None, ()
        self.turns += 1
        if self.state is None and self.launch.plain is None:
            self.initialized(spec.config)
        if self.launch.conversation is not None:
            # From now on it is like any other.
            self.launch = replace(self.launch, conversation=None)
        return script

    def finish(self, script: Script | None) -> None:
        """Note what the turn has left in the process, and give the worker back. `script` None: the turn was
        not begun, and nothing was said to the process."""
        if script is None:
            self.source.release(self, clean=True)
            return
        translator, request = script.translator, script.spec.request
        self.cost_usd = translator.total_cost
        self.mark = translator.mark if translator.done else None
        said = (*request.history, request.turn.question)
        if self.state is not None:
            # Thoughts are in the process, and not in what a client sends.
            answer = translator.plain_answer if not script.thought else None
            held = (*said, Message("assistant", (answer,))) if answer else None
            self.state = self.state.after(script.spec.config, held)
        if translator.suspended and script.calls is not None and script.calls.leave is not None:
            self.suspended = Suspended(
                config=script.spec.config,
                said=said if self.launch.session is None else None,
                answer=translator.held.message,
                leave=script.calls.leave,
                wants_thinking=request.turn.thinking,
                longest=LONGEST_RESULT if self.source.abilities.large_results else PLAIN_RESULT,
                thought=script.thought or translator.held.has_thoughts,
            )
        clean = translator.clean
        if self.launch.session is not None:
            # A session continues only from an answer: not from an error, nor from what follows an interrupt.
            clean = clean and translator.done and not translator.cut
        self.source.release(self, clean=clean)

    # Between turns

    def frame(self, frame: Frame) -> None:
        """Ignore a frame that arrives while no turn runs."""

    def ended(self, problem: str | None) -> None:
        """The process ended while no turn ran."""
        self.source.worker_ended(self)

    def mark_idle(self) -> None:
        """Note the end of a turn, and take the process's frames over from the attempt."""
        self.idle_since = self._clock()
        self.process.listener = self

    def retirement_reason(self, limits: Limits, share: SharePolicy) -> Retired | None:
        """Why this worker must not serve another turn, or None."""
        if self.process.ended:
            return Retired.ENDED
        if self.launch.conversation is not None:
            # Whose turn it was started for didn't wait.
            return Retired.NOT_WANTED
        if share == "never" and self.turns:
            return Retired.NOT_SHARED
        if self.turns >= limits.turns:
            return Retired.TURNS
        if self._clock() - self.born >= limits.age:
            return Retired.AGE
        if self.turns % _MEMORY_CHECK_TURNS == 0 and _memory(self.process.pid) > limits.memory:
            return Retired.MEMORY
        return None


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def monotonic() -> float:
    """The pool's clock."""
    return time.monotonic()
