"""One chaos run: a server, the stand-in, clients, and trouble for a while; then a look at what is left."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from claude_server.standin import ApiError, Silence, StandIn
from lab.bench import programs
from lab.bench.programs import Server
from lab.chaos import fault_actions, verdict
from lab.chaos.crowd import LoadClients, Tally
from lab.chaos.idle_state import IdleState, ServerMonitor, processes_with
from lab.chaos.plan import Fault, schedule
from lab.chaos.traffic import KINDS, Client
from lab.chaos.upstream import Book, Upstream

CONCURRENCY = 4
QUEUE = 3
# More than slots and queue: some are refused.
CLIENTS = CONCURRENCY + QUEUE + 1
_LEAVING = 0.1
_TROUBLE = 0.25
_LOG = "server.log"


@dataclass(frozen=True)
class Plan:
    """`seconds` of trouble; `binaries`: the CLIs that are swapped."""

    seed: str
    seconds: float
    binaries: Sequence[str]


def server_settings(link: Path, home: Path, **more: str) -> dict[str, str]:
    """Quick to give up, so that minutes hold many faults."""
    return {
        "CLAUDE_BIN": str(link),
        "CLAUDE_STATE_DIR": str(home / "state"),
        "CLAUDE_MAX_CONCURRENCY": str(CONCURRENCY),
        "CLAUDE_MAX_QUEUE": str(QUEUE),
        "CLAUDE_QUEUE_TIMEOUT": "10",
        "CLAUDE_TIMEOUT": "15",
        "CLAUDE_FIRST_EVENT_TIMEOUT": "5",
        "CLAUDE_IDLE_TIMEOUT": "4",
        "CLAUDE_MAX_RETRIES": "2",
        "CLAUDE_BASE_BACKOFF": "0.05",
        "CLAUDE_WORKER_IDLE": "2",
        "CLAUDE_WARM_WORKERS": "1",
        "LOG_FORMAT": "json",
        "LOG_FILE": str(home / _LOG),
        **more,
    }


@dataclass
class RunResult:
    """What a run is judged by. `output`: what the server wrote to its terminal; `log` its log file."""

    book: Book
    tally: Tally
    faults: Counter[str]
    upstream: Counter[str]
    disk: str
    before: IdleState
    after: IdleState
    exit_status: int | None = None
    left_running: int = 0
    output: str = ""
    log: str = ""


class FaultInjector:
    """Does what the schedule says, and undoes all of it in the end."""

    def __init__(
        self, server: Server, upstream: Upstream, link: fault_actions.Link, disk: fault_actions.Disk
    ) -> None:
        self.server = server
        self.upstream = upstream
        self._link = link
        self.disk = disk
        self.done: Counter[str] = Counter()
        self._undo: set[asyncio.Task[None]] = set()

    async def inject(self, faults: Sequence[Fault], seconds: float) -> None:
        begun = time.monotonic()
        self.upstream.troubled = True
        for fault in faults:
            await asyncio.sleep(max(0.0, begun + fault.at - time.monotonic()))
            if self._strike(fault):
                self.done[fault.kind] += 1
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))

    async def stop(self) -> None:
        """From now on nothing goes wrong, but what is broken already."""
        self.upstream.troubled = False
        for task in self._undo:
            task.cancel()
        await asyncio.gather(*self._undo, return_exceptions=True)
        self.upstream.outage = None
        self.disk.free(self.server)
        self._link.restore()

    def _strike(self, fault: Fault) -> bool:
        """Do it now; false if there was nobody to do it to."""
        if fault.kind in ("kill a process", "stop a process") or fault.kind.startswith(("babble", "tear")):
            process = fault_actions.victim(self.server, fault.luck)
            return process is not None and self._hit(process, fault)
        if fault.kind == "swap the binary":
            self._link.swap()
        elif fault.kind == "no binary":
            self._link.remove()
            self._later(fault, self._link.restore)
        elif fault.kind == "disk full":
            self.disk.fill(self.server)
            self._later(fault, lambda: self.disk.free(self.server))
        elif fault.kind.startswith("API"):
            self.upstream.outage = ApiError.overloaded() if fault.kind == "API overloaded" else Silence(30.0)
            self._later(fault, self._upstream_is_back)
        return True

    def _hit(self, process: psutil.Process, fault: Fault) -> bool:
        if fault.kind == "kill a process":
            return fault_actions.send(process, signal.SIGKILL)
        if fault.kind == "stop a process":
            if fault.lasts is not None:
                self._later(fault, lambda: fault_actions.send(process, signal.SIGCONT))
            return fault_actions.send(process, signal.SIGSTOP)
        return fault_actions.babble(process, fault.luck, fault.kind)

    def _upstream_is_back(self) -> None:
        self.upstream.outage = None

    def _later(self, fault: Fault, undo: Callable[[], object]) -> None:
        async def wait() -> None:
            await asyncio.sleep(fault.lasts or 0.0)
            undo()

        task = asyncio.ensure_future(wait())
        self._undo.add(task)
        task.add_done_callback(self._undo.discard)


async def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> RunResult:
    """All of it; what was found."""
    book = Book()
    upstream = Upstream(book, plan.seed, _TROUBLE)
    home = folder / "server"
    link = fault_actions.Link(folder / "bin" / "claude", plan.binaries)
    disk = fault_actions.Disk(home)
    output = bytearray()
    with StandIn(responder=upstream, keep=10) as api:
        env = programs.environment(home, api.url, str(link.path), **server_settings(link.path, home))
        say("starting the server")
        async with programs.server(env, folder, wrapped_in=disk.wrapping(), keep=output.extend) as server:
            injector = FaultInjector(server, upstream, link, disk)
            try:
                found = await _with_server(
                    plan, injector, ServerMonitor(server, str(folder), disk.seen(server)), say
                )
            finally:
                await injector.stop()
            found.log = (disk.seen(server) / _LOG).read_text(encoding="utf-8", errors="replace")
        for failure in api.failures:
            book.found("mistakes of the stand-in", repr(failure))
    found.exit_status = server.exit_status
    found.left_running = len(processes_with(str(folder).encode()))
    found.output = output.decode(errors="replace")
    return found


async def _with_server(
    plan: Plan, injector: FaultInjector, monitor: ServerMonitor, say: Callable[[str], None]
) -> RunResult:
    url, book = injector.server.url, injector.upstream.book
    say("one of each kind, then a rest")
    await all_kinds(url, book, Client(plan.seed, CLIENTS, 0.0))
    before = await monitor.settled()
    crowd = LoadClients(url, book)
    over = asyncio.Event()
    clients = [Client(plan.seed, number, _LEAVING) for number in range(CLIENTS)]
    asking = [asyncio.ensure_future(crowd.keep_asking(each, over)) for each in clients]
    try:
        say(f"{plan.seconds:g} seconds of trouble")
        await injector.inject(schedule(plan.seed, plan.seconds), plan.seconds)
        over.set()
        await injector.stop()
        say("waiting for the last answers")
        await asyncio.gather(*asking)
    finally:
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await crowd.close()
    say("one of each kind again, then a rest")
    await all_kinds(url, book, Client(plan.seed, CLIENTS + 1, 0.0))
    after = await monitor.settled()
    return RunResult(
        book, crowd.tally, injector.done, injector.upstream.met, injector.disk.kind, before, after
    )


async def all_kinds(url: str, book: Book, client: Client) -> None:
    """One question of each kind, while nothing goes wrong: all must be answered."""
    crowd = LoadClients(url, book)
    try:
        for kind in KINDS:
            found = await crowd.ask(client.next(kind))
            if found.outcome != verdict.RIGHT:
                book.found("failures while all was well", f"{kind}: {found.outcome} {found.problem or ''}")
    finally:
        await crowd.close()
