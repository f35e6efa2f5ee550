"""One CLI's part of a run: starts what is compared, gives each its turn, and collects the figures."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.bench import programs
from lab.bench.bare import BareLoop
from lab.bench.contestants import Contestant, Floor, Ours, PerRequest
from lab.bench.load import Ask, AskFailed, ClosedLoop, Limits
from lab.bench.plan import Cell, Plan
from lab.bench.programs import Api, Server
from lab.bench.stats import Tally, growth, rounded
from lab.bench.workloads import WORKLOADS, Turn, filled

# A turn of the chat for the cache: questions and answers of this many characters.
_CHAT_CHARS = 600
_MEMORY_SAMPLES = 100
Say = Callable[[str], None]


@dataclass
class Cast:
    """The contestants of one CLI, by name, and the server behind `ours`."""

    contestants: Mapping[str, Contestant]
    ours: Ours
    server: Server


@dataclass(frozen=True)
class Stage:
    """Where one CLI is measured. `sections`: see `plan.SECTIONS`."""

    api: Api
    cli: str
    folder: Path
    plan: Plan
    cells: Sequence[Cell]
    sections: Collection[str]
    say: Say

    def server_environment(self, **more: str) -> dict[str, str]:
        home = self.folder / "server"
        return programs.environment(
            home,
            self.api.url,
            self.cli,
            CLAUDE_BIN=self.cli,
            CLAUDE_STATE_DIR=str(home / "state"),
            CLAUDE_MAX_CONCURRENCY=str(self.plan.concurrency),
            **more,
        )

    def client_environment(self, name: str) -> dict[str, str]:
        return programs.environment(self.folder / name, self.api.url, self.cli)


async def measured(stage: Stage) -> dict[str, Any]:
    """All figures of one CLI."""
    env = stage.client_environment("version")
    result: dict[str, Any] = {"version": await programs.cli_version(stage.cli, env, stage.folder)}
    await stage.api.reply(WORKLOADS["short"].reply)
    if "start" in stage.sections:
        result["start"] = await first_requests(stage)
    if {"load", "memory", "caching"} & set(stage.sections):
        async with cast(stage) as all_:
            result |= await _with_cast(stage, all_)
    if "caching" in stage.sections:
        result.setdefault("caching", {})["not_held"] = await _chat_on_strangers(stage)
    return result


async def _with_cast(stage: Stage, cast: Cast) -> dict[str, Any]:
    result: dict[str, Any] = {"engine": await engine(cast.server)}
    if {"load", "memory"} & set(stage.sections):
        await warm_up(stage, cast)
    if "load" in stage.sections:
        result["cells"] = await load(stage, cast)
        result["worker_memory"] = {
            name: {k: rounded(v) for k, v in programs.memory(one.workers()).items()}
            for name, one in cast.contestants.items()
            if one.workers()
        }
    if "memory" in stage.sections:
        result["memory"] = await server_memory(stage, cast)
    if "caching" in stage.sections:
        stage.say("a chat on a worker that holds it")
        result["caching"] = {"held": await chat(stage, cast.ours)}
    return result


@contextlib.asynccontextmanager
async def cast(stage: Stage) -> AsyncIterator[Cast]:
    """Everybody, up and running; nobody is left afterwards."""
    stage.say("starting the server and the bare processes")
    limit, cli = stage.plan.concurrency, stage.cli
    async with contextlib.AsyncExitStack() as stack:
        env = stage.server_environment()
        server = await stack.enter_async_context(programs.server(env, stage.folder))
        floor, ours = Floor(stage.api.url), Ours(server)
        folders = {name: stage.folder / name / "work" for name in ("bare", "lean", "default")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        bare = BareLoop(cli, stage.client_environment("bare"), folders["bare"], limit)
        lean = PerRequest(cli, stage.client_environment("lean"), folders["lean"], limit, lean=True)
        default = PerRequest(cli, stage.client_environment("default"), folders["default"], limit, lean=False)
        for each in (floor, ours, bare):
            stack.push_async_callback(each.close)
        if {"load", "memory"} & set(stage.sections):
            await bare.start()
        contestants: dict[str, Contestant] = {
            "floor": floor,
            "ours": ours,
            "bare": bare,
            "per_request": lean,
            "per_request_default": default,
        }
        yield Cast(contestants, ours, server)


async def engine(server: Server) -> str:
    """The level at which the server uses the CLI, as its /health says."""
    probe = Api(server.url)
    try:
        return await probe.engine()
    finally:
        await probe.close()


async def warm_up(stage: Stage, cast: Cast) -> None:
    """Bring the warm ones to temperature, with all their processes."""
    count = stage.plan.concurrency
    short = WORKLOADS["short"]
    for name in ("ours", "bare"):
        stage.say(f"warming up: {name}")
        limits = Limits(seconds=120.0, requests=0, longest=120.0, most=stage.plan.warm_up * count)
        loop = ClosedLoop(cast.contestants[name].ask, short.reply["text"], False, limits)
        await loop.run([short.talker() for _ in range(count)])


async def load(stage: Stage, cast: Cast) -> list[dict[str, Any]]:
    """Every cell in every round, every contestant in every cell: what drifts hits all alike."""
    tallies: dict[tuple[Cell, str], Tally] = {}
    total, number = stage.plan.rounds * len(stage.cells), 0
    for turn in range(stage.plan.rounds):
        for cell in stage.cells:
            number += 1
            names = [n for n in cast.contestants if cell.defaults or n != "per_request_default"]
            names = names[turn % len(names) :] + names[: turn % len(names)]
            for name in names:
                stage.say(f"{number} of {total}: {cell}: {name.replace('_', ' ')}")
                tally = tallies.setdefault((cell, name), Tally())
                await _slot(stage, cell, name, cast.contestants[name], tally)
    return [
        {
            "workload": cell.workload,
            "stream": cell.stream,
            "clients": cell.clients,
            "contestants": {name: tally.figures() for (c, name), tally in tallies.items() if c == cell},
        }
        for cell in stage.cells
    ]


async def _slot(stage: Stage, cell: Cell, name: str, one: Contestant, tally: Tally) -> None:
    workload = WORKLOADS[cell.workload]
    await stage.api.reply(workload.reply)
    limits = stage.plan.cold if name.startswith("per_request") else stage.plan.warm
    loop = ClosedLoop(one.ask, workload.reply["text"], cell.stream, limits)
    (bytes_before, requests_before), cpu_before = await stage.api.traffic(), one.cpu()
    slot = await loop.run([workload.talker() for _ in range(cell.clients)])
    (bytes_after, requests_after), cpu_after = await stage.api.traffic(), one.cpu()
    tally.add(slot, cpu_after - cpu_before, bytes_after - bytes_before, requests_after - requests_before)


async def first_requests(stage: Stage) -> dict[str, Any]:
    """Start after start: a request is sent the moment that the ready line is seen.

    The first start tries out the CLI, so it isn't like the others: it is given by itself.
    """
    ready, first = [], []
    short = WORKLOADS["short"]
    for number in range(stage.plan.starts + 1):
        stage.say(f"start {number + 1} of {stage.plan.starts + 1}")
        async with programs.server(stage.server_environment(), stage.folder) as server:
            ours = Ours(server)
            try:
                answer = await ours.ask(short.talker().next()[0], False)
            except AskFailed:
                continue
            finally:
                await ours.close()
            ready.append(server.ready_after)
            # Of a whole answer, the first is the last.
            first.append(answer.first - server.ready_at)
    return {
        "ready_after_ms": [rounded(1000 * s) for s in ready],
        "first_request_ms": [rounded(1000 * s) for s in first],
    }


async def server_memory(stage: Stage, cast: Cast) -> dict[str, Any]:
    """The server's resident memory, looked at while requests go through it, whole and streamed in turn."""
    await stage.api.reply(WORKLOADS["short"].reply)
    step = max(1, stage.plan.memory_requests // _MEMORY_SAMPLES)
    done, sizes = 0, [cast.server.rss() / 1024**2]

    async def ask(turn: Turn, stream: bool) -> Any:
        nonlocal done
        done += 1
        if done % step == 0:
            sizes.append(cast.server.rss() / 1024**2)
        if done % 100 == 0:
            stage.say(f"the server's memory: {done} of {stage.plan.memory_requests} requests")
        return await cast.ours.ask(turn, done % 2 == 0)

    asking: Ask = ask
    limits = Limits(seconds=600.0, requests=0, longest=600.0, most=stage.plan.memory_requests)
    short = WORKLOADS["short"]
    loop = ClosedLoop(asking, short.reply["text"], False, limits)
    slot = await loop.run([short.talker() for _ in range(stage.plan.concurrency)])
    return {
        "requests": len(slot.samples),
        "failed": len(slot.samples) - len(slot.good),
        "every": step,
        "server_rss_mb": [round(size, 1) for size in sizes],
        "growth_mb": round(growth(sizes), 2),
    }


async def chat(stage: Stage, ours: Ours) -> list[dict[str, int]]:
    """A stateless chat, turn by turn: the prompt's tokens, and those of it read from and put in the cache."""
    reply = {"text": filled("An answer of some length.", _CHAT_CHARS)}
    await stage.api.reply(reply)
    past: list[tuple[str, str]] = []
    result = []
    for number in range(1, stage.plan.chat_turns + 1):
        question = filled(f"Question {number} of chat {id(past)}.", _CHAT_CHARS)
        try:
            answer = await ours.complete(Turn(question, tuple(past)))
        except AskFailed:
            break
        usage = answer["usage"]
        result.append(
            {
                "prompt": int(usage["prompt_tokens"]),
                "read": int(usage["cache_read_input_tokens"]),
                "created": int(usage["cache_creation_input_tokens"]),
            }
        )
        past.append((question, answer["choices"][0]["message"]["content"]))
    return result


async def _chat_on_strangers(stage: Stage) -> list[dict[str, int]]:
    """The same chat on a server whose workers never serve twice."""
    stage.say("a chat on workers that don't hold it")
    env = stage.server_environment(CLAUDE_SHARE_WORKERS="never")
    async with programs.server(env, stage.folder) as server:
        ours = Ours(server)
        try:
            return await chat(stage, ours)
        finally:
            await ours.close()
