"""One CLI's part of a run of `lab.bench.agents`: loops of agents, and bursts after a start."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lab.bench import programs
from lab.bench.agent_loop import REPLY, TEXT_REPLY, Agent, ChatAgent, FloorAgent, ProcessAgent, Round, loop
from lab.bench.contestants import Http, Ours, PerRequest
from lab.bench.load import AskFailed
from lab.bench.programs import Api, Server
from lab.bench.stats import Cpu, rounded, spread_ms
from lab.bench.workloads import WORKLOADS, FreshQuestions

# As many rounds stand for "round 2" and for the last one: one alone says little.
_NEIGHBOURS = 5
# Seconds after the ready line, for the processes that come up behind it.
SETTLED_AFTER = 3.0
# The others take seconds a round then, which says no more than one at a time does.
_SEVERAL_AT_A_TIME = ("floor", "suspended")
BURST = 4
Say = Callable[[str], None]
# What a contestant's server is told beside the rest. No server: the stand-in itself, or processes of ours.
SERVERS: Mapping[str, Mapping[str, str]] = {"suspended": {}, "injected": {"CLAUDE_SUSPENDED": "0"}}
# Servers that are started in turn. Settings of the user's may need the CLI's notes: they are left in there.
BURSTS: Mapping[str, Mapping[str, str]] = {
    "four kept warm": {"CLAUDE_WARM_WORKERS": "4"},
    "one kept warm": {"CLAUDE_WARM_WORKERS": "1"},
    "four, with the CLI's own notes": {"CLAUDE_WARM_WORKERS": "4", "CLAUDE_SETTING_SOURCES": "user"},
}


@dataclass(frozen=True)
class AgentPlan:
    """`rounds` of a loop; `loops`: how often, by the number of agents at a time; `bursts`: starts of each."""

    rounds: int
    loops: Mapping[int, int]
    bursts: int


FULL = AgentPlan(rounds=100, loops={1: 1, 4: 1}, bursts=4)
QUICK = AgentPlan(rounds=12, loops={1: 1, 2: 1}, bursts=1)


@dataclass(frozen=True)
class AgentStage:
    api: Api
    cli: str
    folder: Path
    plan: AgentPlan
    say: Say

    def environment(self, **more: str) -> dict[str, str]:
        home = self.folder / "server"
        return programs.environment(
            home, self.api.url, self.cli, CLAUDE_BIN=self.cli, CLAUDE_STATE_DIR=str(home / "state"), **more
        )


@dataclass
class Loops:
    """What the loops of one contestant, with so many agents at a time, add up to. `quarters`: CPU seconds of
    all rounds in the first quarter, and in the last one. `starts`: processes started after the first quarter.
    `prefix`: (pairs of neighbouring rounds whose earlier messages are the same, pairs)."""

    early: list[Round] = field(default_factory=list)
    late: list[Round] = field(default_factory=list)
    quarters: list[tuple[Cpu, Cpu, int]] = field(default_factory=list)
    starts: int = 0
    prefix: tuple[int, int] | None = None
    worker_pss_mb: float | None = None
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        quarter = max(1, sum(rounds for _, _, rounds in self.quarters))
        first = [sum(getattr(cpu, of) for cpu, _, _ in self.quarters) for of in ("server", "cli")]
        last = [sum(getattr(cpu, of) for _, cpu, _ in self.quarters) for of in ("server", "cli")]
        return {
            "early_ms": spread_ms([r.ended - r.begun for r in self.early]),
            "late_ms": spread_ms([r.ended - r.begun for r in self.late]),
            "early_first_ms": spread_ms([r.first - r.begun for r in self.early]),
            "late_first_ms": spread_ms([r.first - r.begun for r in self.late]),
            "cpu_first_quarter_ms": [rounded(1000 * seconds / quarter) for seconds in first],
            "cpu_last_quarter_ms": [rounded(1000 * seconds / quarter) for seconds in last],
            "starts": self.starts,
            "prefix": self.prefix,
            "worker_pss_mb": self.worker_pss_mb,
            "seconds": rounded(self.seconds),
        }


@dataclass(frozen=True)
class _Contestant:
    agent: Agent
    server: Server | None
    cpu: Callable[[], Cpu]


async def measured(stage: AgentStage) -> dict[str, Any]:
    """All figures of one CLI."""
    env = stage.environment()
    result: dict[str, Any] = {"version": await programs.cli_version(stage.cli, env, stage.folder)}
    result["load_before"] = [rounded(value) for value in os.getloadavg()]
    # The first start tries out the CLI.
    async with programs.server(env, stage.folder):
        pass
    cells: list[dict[str, Any]] = []
    for name in ("floor", "suspended", "injected", "per_request"):
        async with _contestant(stage, name) as one:
            for clients, times in stage.plan.loops.items():
                if clients > 1 and name not in _SEVERAL_AT_A_TIME:
                    continue
                stage.say(f"{name}, {clients} at a time")
                found = await _loops(stage, name, one, clients, times)
                cells.append({"name": name, "clients": clients, **found.figures()})
    result["loops"] = cells
    result["bursts"] = await bursts(stage)
    result["load_after"] = [rounded(value) for value in os.getloadavg()]
    return result


@contextlib.asynccontextmanager
async def _contestant(stage: AgentStage, name: str) -> AsyncIterator[_Contestant]:
    await stage.api.reply(TEXT_REPLY if name == "per_request" else REPLY)
    if name == "per_request":
        folder = stage.folder / "per-request"
        folder.mkdir(exist_ok=True)
        home = programs.environment(stage.folder / "per-request-home", stage.api.url, stage.cli)
        processes = PerRequest(stage.cli, home, folder, max(stage.plan.loops), lean=True)
        yield _Contestant(ProcessAgent(processes), None, processes.cpu)
        return
    if name == "floor":
        http = Http(stage.api.url)
        try:
            yield _Contestant(FloorAgent(http), None, Cpu)
        finally:
            await http.close()
        return
    async with programs.server(stage.environment(**SERVERS[name]), stage.folder) as server:
        await asyncio.sleep(SETTLED_AFTER)
        http = Http(server.url)
        try:
            yield _Contestant(ChatAgent(http), server, server.cpu)
        finally:
            await http.close()


async def _loops(stage: AgentStage, name: str, one: _Contestant, clients: int, times: int) -> Loops:
    found, rounds = Loops(), stage.plan.rounds
    asked: Sequence[int] = range(1, rounds + 1)
    if name == "per_request":
        # Each takes as long as any other of its length.
        asked = [*range(2, 2 + _NEIGHBOURS), *range(rounds - _NEIGHBOURS + 1, rounds + 1)]
    for turn in range(times):
        await stage.api.forget()
        watch = _Watch(one, rounds, clients)
        questions = [f"loop {turn} of agent {number} of {clients}, {name}" for number in range(clients)]
        begun = asyncio.get_running_loop().time()
        all_ = await asyncio.gather(*(loop(one.agent, q, asked, watch.after) for q in questions))
        found.seconds += asyncio.get_running_loop().time() - begun
        for each in all_:
            found.early += [each[number] for number in range(2, 2 + _NEIGHBOURS)]
            found.late += [each[number] for number in range(rounds - _NEIGHBOURS + 1, rounds + 1)]
        if one.server is not None:
            watch.finish(found)
            found.starts += await _starts(one.server) - watch.starts_then
            if clients == 1 and not turn:
                found.prefix = unchanged_prefixes(await stage.api.bodies())
    return found


class _Watch:
    """Looks at the server's CPU and its processes at the quarters of a loop."""

    def __init__(self, one: _Contestant, rounds: int, clients: int) -> None:
        self._one = one
        self._quarter = max(1, rounds // 4)
        self._rounds, self._clients = rounds, clients
        self._reached: dict[int, int] = {}
        self._cpu: dict[int, Cpu] = {0: one.cpu()}
        self._workers = self._cpu_of_workers()
        self.starts_then = 0

    def after(self, number: int) -> None:
        self._reached[number] = self._reached.get(number, 0) + 1
        if self._one.server is None or self._reached[number] < self._clients:
            return
        if number in (self._quarter, self._rounds - self._quarter, self._rounds):
            self._cpu[number] = self._one.cpu()
        if number == self._quarter:
            self.starts_then = _starts_now(self._one.server)

    def finish(self, found: Loops) -> None:
        start, first = self._cpu[0], self._cpu[self._quarter]
        late, last = self._cpu[self._rounds - self._quarter], self._cpu[self._rounds]
        found.quarters.append((first - start, last - late, self._quarter * self._clients))
        if self._clients == 1:
            used = {
                process: seconds - self._workers.get(process, 0.0)
                for process, seconds in self._cpu_of_workers().items()
            }
            if used:
                # The one that served the loop.
                busiest = max(used, key=lambda process: used[process])
                found.worker_pss_mb = rounded(programs.memory([busiest]).get("pss_mb", 0.0))

    def _cpu_of_workers(self) -> dict[psutil.Process, float]:
        server = self._one.server
        return {p: programs.cpu_seconds(p) for p in server.workers()} if server is not None else {}


async def _starts(server: Server) -> int:
    return await asyncio.to_thread(_starts_now, server)


def _starts_now(server: Server) -> int:
    """How many processes the server has started for turns."""
    return int(programs.health(server.url)["cli"]["workers"].get("started", 0))


def unchanged_prefixes(bodies: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """(pairs of neighbouring requests of which the later one begins with all of the earlier one, pairs). The
    marks of the API's cache move on and don't count; system prompt and tools do."""
    same = 0
    for before, after in itertools.pairwise(bodies):
        rest = {key: value for key, value in before.items() if key in ("system", "tools")}
        head = after["messages"][: len(before["messages"])]
        alike = _plain(before["messages"]) == _plain(head)
        alike = alike and _plain(rest) == _plain({key: after.get(key) for key in rest})
        same += alike
    return same, max(0, len(bodies) - 1)


def _plain(value: Any) -> str:
    return json.dumps(_without_marks(value), sort_keys=True)


def _without_marks(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_marks(item) for key, item in value.items() if key != "cache_control"}
    return [_without_marks(item) for item in value] if isinstance(value, list) else value


# Bursts


async def bursts(stage: AgentStage) -> list[dict[str, Any]]:
    """So many requests at once, some seconds after the ready line: the kinds of servers in turn."""
    firsts: dict[str, list[float]] = {name: [] for name in BURSTS}
    sizes: dict[str, list[float]] = {name: [] for name in BURSTS}
    traffic: dict[str, list[float]] = {name: [] for name in BURSTS}
    spent: dict[str, list[float]] = {name: [] for name in BURSTS}
    await stage.api.reply(WORKLOADS["short"].reply)
    for turn in range(stage.plan.bursts):
        for name, settings in BURSTS.items():
            stage.say(f"burst {turn + 1} of {stage.plan.bursts}, {name}")
            async with programs.server(stage.environment(**settings), stage.folder) as server:
                await asyncio.sleep(SETTLED_AFTER)
                # Before anything was asked of them.
                workers = server.workers()
                if workers:
                    sizes[name].append(programs.memory(workers)["pss_mb"])
                    spent[name].append(server.cpu().cli / len(workers))
                bytes_before, _ = await stage.api.traffic()
                firsts[name] += await _burst(server)
                bytes_after, _ = await stage.api.traffic()
                traffic[name].append((bytes_after - bytes_before) / BURST)
    return [
        {
            "name": name,
            "first_ms": spread_ms(firsts[name]),
            "requests": len(firsts[name]),
            "unused_pss_mb": rounded(sum(sizes[name]) / max(1, len(sizes[name]))),
            "start_cpu_ms": rounded(1000 * sum(spent[name]) / max(1, len(spent[name]))),
            "api_bytes": round(sum(traffic[name]) / max(1, len(traffic[name]))),
        }
        for name in BURSTS
    ]


async def _burst(server: Server) -> list[float]:
    """Seconds to the first token of each."""
    ours, questions = Ours(server), FreshQuestions()

    async def one() -> float:
        begun = time.perf_counter()
        return (await ours.ask(questions.next()[0], True)).first - begun

    try:
        return list(await asyncio.gather(*(one() for _ in range(BURST))))
    except AskFailed as error:
        raise programs.BenchError(f"A burst failed: {error}") from None
    finally:
        await ours.close()
