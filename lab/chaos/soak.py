"""`python -m lab.chaos.soak`, `make soak`: turn after turn, and what the server holds meanwhile.

At full concurrency, and nothing goes wrong on purpose. What counts is growth: of memory, descriptors, tasks,
processes, latency.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_server.standin import StandIn
from lab.bench import programs
from lab.bench.machine import NEWEST, find_cli, machine
from lab.bench.programs import ROOT, Server
from lab.bench.stats import growth, quantile, rounded, spread_ms
from lab.bench.terminal import Progress, exit_status, run_in_a_folder
from lab.chaos import verdict
from lab.chaos.chart import svg
from lab.chaos.crowd import LoadClients
from lab.chaos.idle_state import IdleState, ServerMonitor
from lab.chaos.traffic import Client
from lab.chaos.upstream import Book, Upstream

CONCURRENCY = 4
# Points in the picture.
_SAMPLES = 120
_PAUSE = 0.2


@dataclass(frozen=True)
class Plan:
    """Until `seconds` are over or `turns` are answered, whichever is first."""

    seed: str
    seconds: float
    turns: int
    binary: str


@dataclass(frozen=True)
class Sample:
    """`at` seconds: megabytes of the server, and of a CLI process on average, and what else was there. p50
    and p95: milliseconds, of the answers since the sample before; None if there were none."""

    at: float
    turns: int
    server_mb: float
    cli_mb: float
    descriptors: int
    processes: int
    p50: float | None
    p95: float | None


async def soak(plan: Plan, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole run; its figures."""
    book = Book()
    upstream = Upstream(book, plan.seed, 0.0)
    home = folder / "server"
    with StandIn(responder=upstream, keep=10) as api:
        env = programs.environment(
            home,
            api.url,
            plan.binary,
            CLAUDE_BIN=plan.binary,
            CLAUDE_STATE_DIR=str(home / "state"),
            CLAUDE_MAX_CONCURRENCY=str(CONCURRENCY),
            CLAUDE_WORKER_IDLE="2",
            CLAUDE_WARM_WORKERS="1",
        )
        say("starting the server")
        async with programs.server(env, folder) as server:
            monitor = ServerMonitor(server, str(folder), home)
            # Half of them for the warming up: no two clients have questions or sessions in common.
            clients = [Client(plan.seed, number, 0.0) for number in range(2 * CONCURRENCY)]
            crowd = LoadClients(server.url, book)
            await _ask_for(crowd, clients[CONCURRENCY:], 2 * CONCURRENCY, 30.0)
            before = await monitor.settled()
            samples = await _sampled(plan, server, crowd, clients[:CONCURRENCY], say)
            await crowd.close()
            say("a rest")
            after = await monitor.settled()
    return figures(crowd, book, samples, before, after)


async def _ask_for(crowd: LoadClients, clients: Sequence[Client], turns: int, seconds: float) -> None:
    """All at a time, until so many turns have been answered or so much time is over."""
    over = asyncio.Event()
    enough = len(crowd.tally.latencies) + turns
    timer = asyncio.get_running_loop().call_later(seconds, over.set)

    async def keep_asking(client: Client) -> None:
        while not over.is_set():
            found = await crowd.ask(client.next())
            if found.outcome != verdict.RIGHT:
                await asyncio.sleep(_PAUSE)
            elif len(crowd.tally.latencies) >= enough:
                over.set()

    asking = [asyncio.ensure_future(keep_asking(client)) for client in clients]
    try:
        await asyncio.gather(*asking)
    finally:
        timer.cancel()
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _sampled(
    plan: Plan, server: Server, crowd: LoadClients, clients: Sequence[Client], say: Callable[[str], None]
) -> list[Sample]:
    crowd.tally.latencies.clear()
    every = plan.seconds / _SAMPLES
    begun = time.monotonic()
    asking = asyncio.ensure_future(_ask_for(crowd, clients, plan.turns, plan.seconds))
    samples: list[Sample] = []
    seen = 0
    try:
        while not asking.done():
            await asyncio.wait([asking], timeout=every)
            latencies = crowd.tally.latencies[seen:]
            seen += len(latencies)
            workers = server.workers()
            resident = programs.memory(workers).get("rss_mb", 0.0)
            samples.append(
                Sample(
                    at=rounded(time.monotonic() - begun),
                    turns=seen,
                    server_mb=rounded(server.rss() / 1024**2),
                    cli_mb=rounded(resident),
                    descriptors=server.process.num_fds(),
                    processes=len(workers),
                    p50=rounded(1000 * quantile(latencies, 0.5)) if latencies else None,
                    p95=rounded(1000 * quantile(latencies, 0.95)) if latencies else None,
                )
            )
            say(f"{seen} turns in {samples[-1].at:.0f} of {plan.seconds:.0f} seconds")
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return samples


def figures(
    crowd: LoadClients, book: Book, samples: Sequence[Sample], before: IdleState, after: IdleState
) -> dict[str, Any]:
    """All of it as JSON."""
    wrong = {name: n for name, n in crowd.tally.outcomes.items() if name != verdict.RIGHT}
    return {
        "turns": samples[-1].turns,
        "seconds": samples[-1].at,
        "not_right": wrong,
        "latency_ms": spread_ms(crowd.tally.latencies),
        "growth": {
            "server_mb": rounded(growth([sample.server_mb for sample in samples])),
            "cli_mb": rounded(growth([sample.cli_mb for sample in samples])),
            "descriptors": rounded(growth([sample.descriptors for sample in samples])),
            "p50_ms": rounded(growth([sample.p50 for sample in samples if sample.p50 is not None])),
        },
        "before": before.as_json(),
        "after": after.as_json(),
        "leaks": after.leaks(before),
        "findings": book.findings,
        "samples": [vars(sample) for sample in samples],
    }


def failed(results: Mapping[str, Any]) -> bool:
    """Is something left, or was something wrong? Memory and time are for people to judge."""
    return bool(results["not_right"] or any(results["leaks"].values()) or results["findings"])


def text(results: Mapping[str, Any]) -> str:
    """The figures as a person reads them."""
    spread = ", ".join(f"{name} {value:.0f}" for name, value in (results["latency_ms"] or {}).items())
    rise = ", ".join(f"{name} {value:+g}" for name, value in results["growth"].items())
    leaks = ", ".join(f"{name} {number}" for name, number in results["leaks"].items())
    lines = [
        f"{results['turns']} turns in {results['seconds']:.0f} s, not right: {results['not_right'] or 0}",
        f"latency, ms: {spread}",
        f"from the second fifth to the last: {rise}",
        f"left over at rest: {leaks}",
    ]
    return "\n".join([*lines, *results["findings"]])


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m lab.chaos.soak",
        description="Turns at full concurrency against the stand-in, and what the server and its CLI "
        "processes hold meanwhile. Exit status 1 if an answer was wrong or anything is left over.",
    )
    result.add_argument("--minutes", type=float, default=60.0, metavar="M", help="at most (60)")
    result.add_argument("--turns", type=int, default=1_000_000, metavar="N", help="at most (no limit)")
    result.add_argument("--seed", default="1", metavar="N", help="the same questions again (1)")
    result.add_argument("--claude-bin", default=NEWEST, metavar="PATH", help="see python -m lab.chaos")
    result.add_argument("--out", type=Path, help="folder for soak.json and soak.svg (.cache/chaos)")
    return result


@exit_status
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = parser().parse_args(arguments)
    out = options.out or ROOT / ".cache" / "chaos"
    binary = find_cli(options.claude_bin)
    plan = Plan(options.seed, options.minutes * 60, options.turns, binary)
    results = run_in_a_folder("soak-", lambda folder: _run(plan, folder))
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "soak.svg").write_text(svg(results), encoding="utf-8")
    print(text(results))
    print(f"\nWritten: {out / 'soak.json'}, {out / 'soak.svg'}")
    return 1 if failed(results) else 0


async def _run(plan: Plan, folder: Path) -> dict[str, Any]:
    say = Progress()
    env = programs.environment(folder / "version", "http://127.0.0.1:9", plan.binary)
    version = await programs.cli_version(plan.binary, env, folder)
    try:
        results = await soak(plan, folder, say)
    finally:
        say.clear()
    return {
        "command": f"python -m lab.chaos.soak --minutes {plan.seconds / 60:g} --seed {plan.seed}",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "cli": version,
        **results,
    }


if __name__ == "__main__":
    sys.exit(main())
