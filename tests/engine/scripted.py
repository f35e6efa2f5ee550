"""Processes and a table that do what a test says, on an event loop whose time the test moves."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from claude_server.core.errors import TurnError
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol.frames import encode
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.pool import Pool
from claude_server.engine.workers.state import Abilities, Level
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker

T = TypeVar("T")
# Rounds of the event loop after which all that can go on by itself has done so.
_ROUNDS = 40
# Beyond what Linux gives: no process has such an id.
_PIDS = itertools.count(2**23)
ABLE = Abilities(
    stream_json=True,
    inject=True,
    empty=True,
    set_model=True,
    set_system=True,
    set_flags=True,
    literal_slash=True,
)


class Clock(asyncio.SelectorEventLoop):
    """An event loop that is at `now` seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()
        self.problems: list[dict[str, Any]] = []
        self.set_exception_handler(lambda loop, context: self.problems.append(context))

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Run all that needs no time."""
        for _ in range(_ROUNDS):
            self.call_soon(self.stop)
            self.run_forever()

    def call(self, do: Callable[[], T]) -> T:
        """The result of `do`, called inside the loop; what it sets off has not run yet."""
        results: list[T] = []
        problems: list[Exception] = []

        def inside() -> None:
            try:
                results.append(do())
            except Exception as problem:
                problems.append(problem)
            self.stop()

        self.call_soon(inside)
        self.run_forever()
        for problem in problems:
            raise problem
        return results[0]

    def wait_for(self, thing: Awaitable[T]) -> T:
        async def inside() -> T:
            return await thing

        return self.run_until_complete(inside())


class ScriptedProcess(CliProcess):
    """A process without a process: keeps what is written to it, says what the test says. `greeting`: its
    answer to `initialize`, a subtype, "malformed" or "silence"."""

    def __init__(self, greeting: str = "success") -> None:
        super().__init__()
        self.pid = next(_PIDS)
        self.written: list[dict[str, Any]] = []
        self.input_closed = False
        self.killed = False
        self.backlog = 0
        self._greeting = greeting

    def write(self, data: bytes) -> None:
        lines = [json.loads(line) for line in data.splitlines()]
        self.written += lines
        for line in lines:
            if line["type"] == "control_request" and line["request"]["subtype"] == "initialize":
                self._greet(line["request_id"])
            elif not line.get("shouldQuery", True):
                asyncio.get_running_loop().call_soon(self.say, {"type": "result", "num_turns": 0})

    def _greet(self, request_id: str) -> None:
        response: object = {"subtype": self._greeting, "request_id": request_id, "error": "made up"}
        if self._greeting == "malformed":
            response = None
        if self._greeting != "silence":
            answer = {"type": "control_response", "response": response}
            asyncio.get_running_loop().call_soon(self.say, answer)

    @property
    def unread(self) -> int:
        return self.backlog

    def close_input(self) -> None:
        self.input_closed = True

    def _signal(self, sign: object) -> None:
        self.killed = True

    def say(self, *frames: dict[str, Any]) -> None:
        """Lines on its standard output."""
        self.pipe_data_received(1, encode(frames))

    def exit(self, code: int = 0, stderr: str = "") -> None:
        """It ends by itself."""
        self.pipe_data_received(2, stderr.encode())
        self.returncode = code
        self.exited.set()
        self._end(None)


class Start:
    """A start that was asked for and hangs until the test ends it."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class ScriptedTable(ProcessTable):
    """Starts scripted processes: at once, or with `hold` when the test says so."""

    def __init__(self, *, set_paused: bool = False, greeting: str = "success") -> None:
        self.set_paused = set_paused
        self.greeting = greeting
        self.problem: TurnError | None = None
        self.asked: list[Launch] = []
        self.starting: list[Start] = []
        self.started: dict[CliProcess, Launch] = {}
        self.retired: list[tuple[CliProcess, bool]] = []

    async def start(self, launch: Launch) -> ScriptedProcess:
        self.asked.append(launch)
        if self.set_paused:
            start = Start(launch)
            self.starting.append(start)
            try:
                await start.over
            finally:
                self.starting.remove(start)
        if self.problem is not None:
            raise self.problem
        process = ScriptedProcess(self.greeting)
        self.started[process] = launch
        return process

    def retire(self, process: CliProcess, *, now: bool) -> None:
        process.listener = None
        self.retired.append((process, now))

    @property
    def live(self) -> list[CliProcess]:
        gone = [process for process, _ in self.retired]
        return [process for process in self.started if process not in gone]

    @property
    def sessionless(self) -> int:
        """Processes without a session, and starts of such."""
        launches = [*(start.launch for start in self.starting), *(self.started[p] for p in self.live)]
        return sum(launch.session is None for launch in launches)


class Stage:
    """A pool on a scripted table and a clock."""

    def __init__(
        self,
        *,
        level: Level = "warm",
        abilities: Abilities = ABLE,
        size: int = 2,
        warm: int = 1,
        kept_sessions: int = 2,
        limits: Limits | None = None,
        share: SharePolicy = "key",
        suspended: int = 0,
        suspended_idle: float = 300.0,
        set_paused: bool = False,
        greeting: str = "success",
    ) -> None:
        self.clock = Clock()
        self.table = ScriptedTable(set_paused=set_paused, greeting=greeting)
        self._closed = False
        self._leases: list[asyncio.Future[Worker]] = []

        def make() -> Pool:
            return Pool(
                self.table,
                abilities,
                level,
                size=size,
                warm=warm,
                kept_sessions=kept_sessions,
                limits=limits or Limits(),
                share=share,
                suspended=suspended,
                suspended_idle=suspended_idle,
                clock=self.clock.time,
            )

        self.pool = self.clock.call(make)

    def lease(self, demand: Demand) -> asyncio.Future[Worker]:
        """A lease; starts that it sets off have not begun."""
        self._leases.append(self.clock.call(lambda: self.pool.lease(demand)))
        return self._leases[-1]

    def leased(self, demand: Demand) -> Worker:
        """The worker of a lease that is done as soon as starts are."""
        lease = self.lease(demand)
        self.clock.settle()
        return lease.result()

    def release(self, worker: Worker, *, clean: bool = True) -> None:
        self.clock.call(lambda: self.pool.release(worker, clean=clean))

    def finish(self, start: Start, problem: TurnError | None = None) -> None:
        """End a start that hangs."""

        def end() -> None:
            if problem is None:
                start.over.set_result(None)
            else:
                start.over.set_exception(problem)

        self.clock.call(end)
        self.clock.settle()

    def pass_time(self, seconds: float) -> None:
        """Let the time pass; timers fire on the way, each at its own time."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + 5.0)
            self.clock.settle()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.clock.wait_for(self.pool.close())
            self.clock.settle()

    def end(self) -> None:
        """Leave nothing behind; fails the test for what went wrong unseen."""
        try:
            self.close()
        finally:
            self.clock.close()
        for lease in self._leases:
            assert lease.done(), "a lease was forgotten"
            if not lease.cancelled():
                lease.exception()
        assert self.clock.problems == []
