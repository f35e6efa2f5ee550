"""`python -m lab.chaos`, `make chaos`: minutes of traffic while everything goes wrong; then a report."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.bench.machine import NEWEST, find_cli, machine
from lab.bench.programs import ROOT, cli_version, environment
from lab.bench.terminal import Progress, exit_status, run_in_a_folder
from lab.chaos import report
from lab.chaos.run import Plan, run


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m lab.chaos",
        description="The server under faults: CLI processes are killed, stopped and made to babble, the API "
        "errs, stalls and cuts, clients leave, the binary is swapped, the disk fills. Loopback only, in a "
        "temporary folder. Exit status 1 if anything was wrong that must not be. Linux only.",
    )
    result.add_argument("--minutes", type=float, default=5.0, metavar="M", help="of trouble (5)")
    result.add_argument("--seed", default="1", metavar="N", help="the same faults and questions again (1)")
    result.add_argument(
        "--claude-bin",
        action="append",
        metavar="PATH",
        help=f"the CLI, or {NEWEST!r}: the one in claude-agent-sdk (the default); more than one are swapped",
    )
    result.add_argument("--out", type=Path, help="folder for report.json (.cache/chaos)")
    return result


@exit_status
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = parser().parse_args(arguments)
    out = options.out or ROOT / ".cache" / "chaos"
    binaries = [find_cli(name) for name in options.claude_bin or [NEWEST]]
    plan = Plan(options.seed, options.minutes * 60, binaries)
    results = run_in_a_folder("chaos-", lambda folder: _run(plan, options, folder))
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(report.text(results))
    print(f"\nWritten: {out / 'report.json'}")
    return 1 if report.failed(results) else 0


async def _run(plan: Plan, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    say = Progress()
    versions = []
    for binary in plan.binaries:
        env = environment(folder / "version", "http://127.0.0.1:9", binary)
        versions.append(await cli_version(binary, env, folder))
    try:
        found = await run(plan, folder, say)
    finally:
        say.clear()
    return {
        "command": f"python -m lab.chaos --minutes {options.minutes:g} --seed {plan.seed}",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "clis": versions,
        "seconds": plan.seconds,
        **report.figures(found),
    }


if __name__ == "__main__":
    sys.exit(main())
