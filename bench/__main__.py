"""`python -m bench`, `make bench`: measures, writes results.json and plot.svg, and the tables of the page."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime
import importlib.util
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import tables
from bench.measure import Stage, measured
from bench.plan import FULL, QUICK, SECTIONS, Plan
from bench.plot import svg
from bench.programs import ROOT, BenchError, standin

PAGE = "performance.md"
# Stands for the CLI in the wheel of claude-agent-sdk.
NEWEST = "newest"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m bench",
        description="Our server beside the stand-in itself, a claude process per request and a bare loop. "
        "Loopback only, in a temporary folder; some 20 minutes for a CLI, and nothing fails by its figures.",
    )
    result.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    result.add_argument(
        "--claude-bin",
        action="append",
        metavar="PATH",
        help=f"the CLI, or {NEWEST!r}: the one in claude-agent-sdk (the default, else the one on PATH); "
        "more than one: the others get the loads that the goals need",
    )
    result.add_argument(
        "--out", type=Path, help="folder for results.json and plot.svg; the page lies beside it (docs/bench)"
    )
    result.add_argument(
        "--rounds", type=int, metavar="N", help="instead of 3: fewer are quicker, and noisier"
    )
    result.add_argument("--only", action="append", choices=SECTIONS, help="leave the other parts out")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = parser().parse_args(arguments)
    # A quick run must not replace the figures of a real one.
    out = options.out or ROOT / (".cache/bench/quick" if options.quick else "docs/bench")
    try:
        clis = [find_cli(name) for name in options.claude_bin or [NEWEST]]
        results = asyncio.run(_stoppable(options, clis, os.path.realpath(tempfile.gettempdir())))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("\nStopped; nothing was written.", file=sys.stderr)
        return 130
    write(results, out)
    for version, goals in tables.goals(results):
        print(f"\nCLI {version}")
        for goal in goals:
            print(f"  {goal.text}: {goal.measured or '-'}: {goal.verdict}")
    print(f"\nWritten: {out / 'results.json'}, {out / 'plot.svg'}, {out.parent / PAGE}")
    return 0


def find_cli(name: str) -> str:
    """The absolute path of a CLI. Raises BenchError."""
    if name == NEWEST:
        package = importlib.util.find_spec("claude_agent_sdk")
        bundled = Path(package.origin).parent / "_bundled" / "claude" if package and package.origin else None
        found = str(bundled) if bundled and bundled.exists() else shutil.which("claude")
    else:
        found = shutil.which(name)
    if found is None:
        raise BenchError("There is no such claude CLI; get one with: pip install -r requirements-dev.txt")
    return str(Path(found).absolute())


async def _stoppable(options: argparse.Namespace, clis: Sequence[str], temp: str) -> dict[str, Any]:
    """Ctrl-C and SIGTERM end the run in order: every process, then the folder."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, task.cancel)
    # The real path: newer CLIs print their folder into the request.
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True, dir=temp) as folder:
        return await _run(options, clis, Path(folder))


async def _run(options: argparse.Namespace, clis: Sequence[str], folder: Path) -> dict[str, Any]:
    plan = QUICK if options.quick else FULL
    if options.rounds is not None:
        plan = dataclasses.replace(plan, rounds=max(1, options.rounds))
    sections = options.only or SECTIONS
    found = []
    async with standin(folder) as api:
        for number, cli in enumerate(clis):
            cells = plan.other_cells if number else plan.cells
            where = folder / str(number)
            where.mkdir()
            say = Progress(f"CLI {number + 1} of {len(clis)}: " if len(clis) > 1 else "")
            found.append(await measured(Stage(api, cli, where, plan, cells, sections, say)))
            say.clear()
    return {
        "quick": options.quick,
        "command": command(options),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "plan": described(plan),
        "clis": found,
    }


class Progress:
    """One line at a terminal; elsewhere nothing."""

    def __init__(self, head: str) -> None:
        self._head = head
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{(self._head + text)[:width]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def command(options: argparse.Namespace) -> str:
    """How to run it again; no paths of this machine."""
    parts = ["python -m bench", *(["--quick"] if options.quick else [])]
    if options.rounds is not None:
        parts.append(f"--rounds {options.rounds}")
    return " ".join([*parts, *(f"--only {section}" for section in options.only or ())])


def machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def described(plan: Plan) -> dict[str, Any]:
    """What of the plan one has to know to read the figures."""
    return {
        "concurrency": plan.concurrency,
        "rounds": plan.rounds,
        "warm_seconds": plan.warm.seconds,
        "cold_seconds": plan.cold.seconds,
        "warm_up_turns": plan.warm_up,
    }


def write(results: dict[str, Any], out: Path) -> None:
    """results.json and plot.svg into `out`, the tables into the page beside it."""
    out.mkdir(parents=True, exist_ok=True)
    judged = {version: [dataclasses.asdict(g) for g in goals] for version, goals in tables.goals(results)}
    text = json.dumps({**results, "goals": judged}, indent=1, ensure_ascii=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    (out / "plot.svg").write_text(svg(results), encoding="utf-8")
    tables.put(out.parent / PAGE, tables.page_part(results, f"{out.name}/plot.svg"))


if __name__ == "__main__":
    sys.exit(main())
