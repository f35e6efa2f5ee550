"""`python -m lab.bench`, `make bench`: measures, writes results.json, plot.svg and the page's tables."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.bench import tables
from lab.bench.machine import NEWEST, find_cli, machine
from lab.bench.measure import Stage, measured
from lab.bench.plan import FULL, QUICK, SECTIONS, Plan
from lab.bench.plot import svg
from lab.bench.programs import standin
from lab.bench.terminal import Progress, exit_status, out_folder, run_in_a_folder, tell

PAGE = "performance.md"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m lab.bench",
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


@exit_status
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = parser().parse_args(arguments)
    out = out_folder(options.out, quick=options.quick)
    clis = [find_cli(name) for name in options.claude_bin or [NEWEST]]
    results = run_in_a_folder("bench-", lambda folder: _run(options, clis, folder))
    write(results, out)
    tell(tables.goals(results), out / "results.json", out / "plot.svg", out.parent / PAGE)
    return 0


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


def command(options: argparse.Namespace) -> str:
    """How to run it again; no paths of this machine."""
    parts = ["python -m lab.bench", *(["--quick"] if options.quick else [])]
    if options.rounds is not None:
        parts.append(f"--rounds {options.rounds}")
    return " ".join([*parts, *(f"--only {section}" for section in options.only or ())])


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
