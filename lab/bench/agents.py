"""`python -m lab.bench.agents`, a part of `make bench`: measures what agents do, and writes it down."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.bench import agent_tables, tables
from lab.bench.agent_measure import FULL, QUICK, AgentStage, measured
from lab.bench.machine import NEWEST, find_cli, machine
from lab.bench.programs import standin
from lab.bench.terminal import Progress, exit_status, out_folder, run_in_a_folder, tell

PAGE = "agent-loop.md"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m lab.bench.agents",
        description="A loop of an agent through our server, with its turns suspended and with the history "
        "injected, beside the stand-in itself and a claude process per request; and bursts after a start. "
        "Loopback only, in a temporary folder; some 10 minutes for a CLI, and nothing fails by its figures.",
    )
    result.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    result.add_argument(
        "--claude-bin",
        action="append",
        metavar="PATH",
        help=f"the CLI, or {NEWEST!r}: the one in claude-agent-sdk (the default); may be given again",
    )
    result.add_argument(
        "--out", type=Path, help="folder for agent-loop.json; the page lies beside it (docs/bench)"
    )
    return result


@exit_status
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = parser().parse_args(arguments)
    out = out_folder(options.out, quick=options.quick)
    clis = [find_cli(name) for name in options.claude_bin or [NEWEST]]
    results = run_in_a_folder("bench-", lambda folder: _run(options.quick, clis, folder))
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (out / "agent-loop.json").write_text(text + "\n", encoding="utf-8")
    tables.put(out.parent / PAGE, agent_tables.page_part(results), "# An agent's loop")
    tell(agent_tables.goals(results), out / "agent-loop.json", out.parent / PAGE)
    return 0


async def _run(quick: bool, clis: Sequence[str], folder: Path) -> dict[str, Any]:
    plan, found = QUICK if quick else FULL, []
    # All requests of a loop, to compare them.
    async with standin(folder, keep=plan.rounds + 10) as api:
        for number, cli in enumerate(clis):
            where = folder / str(number)
            where.mkdir()
            say = Progress(f"CLI {number + 1} of {len(clis)}: " if len(clis) > 1 else "")
            found.append(await measured(AgentStage(api, cli, where, plan, say)))
            say.clear()
    return {
        "quick": quick,
        "command": "python -m lab.bench.agents" + (" --quick" if quick else ""),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "rounds": plan.rounds,
        "loops": {str(clients): times for clients, times in plan.loops.items()},
        "bursts": plan.bursts,
        "clis": found,
    }


if __name__ == "__main__":
    sys.exit(main())
