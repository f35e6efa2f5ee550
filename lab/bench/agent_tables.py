"""The page of `lab.bench.agents`: goals first, then the tables, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.bench.goals import Figures, Goal, at_most, difference, figure, ratio
from lab.bench.tables import goal_table, short, table

_TITLES = {
    "floor": "the stand-in itself",
    "suspended": "ours",
    "injected": "ours, injection forced",
    "per_request": "process per request",
}


def goals(results: Figures) -> list[tuple[str, list[Goal]]]:
    """(CLI version, its goals) for each CLI."""
    return [(cli["version"], of_cli(cli, results["rounds"])) for cli in results["clis"]]


def of_cli(cli: Figures, rounds: int) -> list[Goal]:
    """The goals as one CLI reaches them, with one agent at a time."""
    ours = _cell(cli, "suspended", 1)
    early, late = added(cli, 1, "suspended", "early_ms"), added(cli, 1, "suspended", "late_ms")
    first, last = _cpu(ours, "cpu_first_quarter_ms"), _cpu(ours, "cpu_last_quarter_ms")
    starts = max((c["starts"] for c in cli["loops"] if c["name"] == "suspended"), default=None)
    same, pairs = ours.get("prefix") or (None, None)
    changed = None if same is None or pairs is None else float(pairs - same)
    burst = figure(_bursts(cli), "four kept warm", "first_ms", "p95")
    return [
        at_most(f"added latency at round {rounds} against that at round 2", ratio(late, early), 1.3, "times"),
        at_most(f"added latency at round {rounds}, p50: 60 ms", late, 60, "ms"),
        at_most("CPU a round, last quarter against the first: flat", ratio(last, first), 1.2, "times"),
        at_most("processes started after the first quarter: 0", starts, 0, ""),
        at_most("pairs of rounds between which earlier parts of the body changed: 0", changed, 0, ""),
        at_most("4 at once, 3 s after the ready line, first token, p95: 150 ms", burst, 150, "ms"),
    ]


def page_part(results: Figures) -> str:
    """All of it."""
    parts = [_setting(results)]
    for version, lines in goals(results):
        parts.append(f"### Goals, CLI {version}\n\n{goal_table(lines)}")
    for cli in results["clis"]:
        title = f"CLI {cli['version']}"
        parts.append(f"### A round, {title}\n\n{_rounds(cli, results['rounds'])}")
        parts.append(f"### What a loop takes, {title}\n\n{_costs(cli)}")
        parts.append(f"### 4 requests at once, 3 s after the ready line, {title}\n\n{_burst_table(cli)}")
    return "\n\n".join(parts)


def added(cli: Figures, clients: int, name: str, what: str, share: str = "p50") -> float | None:
    """What a contestant adds to the floor, in milliseconds."""
    floor, one = _cell(cli, "floor", clients), _cell(cli, name, clients)
    return difference(figure(one, what, share), figure(floor, what, share))


def _cell(cli: Figures, name: str, clients: int) -> Figures:
    for each in cli["loops"]:
        if (each["name"], each["clients"]) == (name, clients):
            found: Figures = each
            return found
    return {}


def _bursts(cli: Figures) -> Figures:
    return {each["name"]: each for each in cli["bursts"]}


def _cpu(cell: Figures, what: str) -> float | None:
    values = cell.get(what)
    return sum(values) if values else None


def _setting(results: Figures) -> str:
    machine = results["machine"]
    quick = "**A quick run, to see that it works: its figures say little.** " if results["quick"] else ""
    loads = "; ".join(
        f"{cli['version']}: {cli['load_before'][0]:.1f} before, {cli['load_after'][0]:.1f} after"
        for cli in results["clis"]
    )
    return (
        f"{quick}`{results['command']}` on {results['date']}: {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['system']}, Python {machine['python']}. The load: {loads}, the run's own included."
    )


def _rounds(cli: Figures, rounds: int) -> str:
    rows = []
    for cell in cli["loops"]:
        row = [_name(cell)]
        for what in ("early_ms", "late_ms", "early_first_ms", "late_first_ms"):
            if cell["name"] == "floor":
                row.append(" / ".join(short(figure(cell, what, share)) for share in ("p50", "p95")))
                continue
            values = [added(cli, cell["clients"], cell["name"], what, s) for s in ("p50", "p95")]
            row.append(" / ".join(f"+{short(v)}" for v in values))
        rows.append(row)
    head = ("ms, p50 / p95; + is added to the stand-in's", "round 2", f"round {rounds}")
    return table([*head, "round 2, first event", f"round {rounds}, first event"], rows)


def _costs(cli: Figures) -> str:
    rows = []
    for cell in cli["loops"]:
        if cell["name"] not in ("suspended", "injected"):
            continue
        same, pairs = cell["prefix"] or (None, None)
        size = cell["worker_pss_mb"]
        rows.append(
            [
                _name(cell),
                _two(cell["cpu_first_quarter_ms"]),
                _two(cell["cpu_last_quarter_ms"]),
                str(cell["starts"]),
                f"{same} of {pairs}" if pairs is not None else "-",
                f"{size:.0f}" if size else "-",
            ]
        )
    head = (
        *("", "CPU a round, first quarter, ms (server + CLI)", "last quarter", "starts after the first"),
        *("bodies that begin with the one before", "the worker at the end, MB (PSS)"),
    )
    return table(head, rows)


def _burst_table(cli: Figures) -> str:
    rows = [
        [
            each["name"],
            " / ".join(short(figure(each, "first_ms", share)) for share in ("p50", "p95")),
            f"{each['start_cpu_ms']:.0f}",
            f"{each['unused_pss_mb']:.0f}",
            f"{each['api_bytes']:,}",
        ]
        for each in cli["bursts"]
    ]
    head = (
        "",
        "first token, ms (p50 / p95)",
        "CPU until then, a process, ms",
        "an unused one, MB (PSS)",
        "bytes to the API",
    )
    return table(head, rows)


def _two(values: Sequence[Any]) -> str:
    return " + ".join(short(float(value)) for value in values)


def _name(cell: Figures) -> str:
    clients = "1 agent" if cell["clients"] == 1 else f"{cell['clients']} agents"
    return f"{_TITLES[cell['name']]}, {clients}"
