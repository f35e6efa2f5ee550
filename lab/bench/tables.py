"""The page's part that a run writes: the goals and the tables, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.bench.goals import Figures, Goal, added, figure, of_cli
from lab.bench.plot import LABELS
from lab.bench.workloads import WORKLOADS

BEGIN = "<!-- bench: made by `make bench`, from here -->"
END = "<!-- bench: to here -->"
_COMPARED = ("ours", "bare", "per_request", "per_request_default")


def put(page: Path, part: str, title: str = "# Performance") -> None:
    """Replace what stands between the markers of the page; make the page if there is none."""
    old = page.read_text(encoding="utf-8") if page.exists() else f"{title}\n\n{BEGIN}\n{END}\n"
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        head, tail = old.rstrip("\n") + "\n\n", "\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{head}{BEGIN}\n\n{part.strip()}\n\n{END}{tail}", encoding="utf-8")


def goals(results: Figures) -> list[tuple[str, list[Goal]]]:
    """(CLI version, its goals) for each CLI."""
    return [(cli["version"], of_cli(cli, results["plan"]["concurrency"])) for cli in results["clis"]]


def page_part(results: Figures, plot: str) -> str:
    """All of it. `plot`: the picture's address, as seen from the page."""
    parts = [_setting(results), f"![Throughput and latency]({plot})"]
    for version, lines in goals(results):
        parts.append(f"### Goals, CLI {version}\n\n{goal_table(lines)}")
    for cli in results["clis"]:
        title = f"CLI {cli['version']}"
        parts += [f"### {name}, {title}\n\n{text}" for name, text in _tables(cli) if text]
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Markdown; the first columns are text, the others numbers. Nothing for no rows."""
    if not rows:
        return ""
    marks = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *rows))


def goal_table(lines: Sequence[Goal]) -> str:
    return table(
        ("goal", "as measured", ""), [(g.text, g.measured or "-", g.verdict) for g in lines], text_columns=3
    )


def _setting(results: Figures) -> str:
    machine, plan = results["machine"], results["plan"]
    quick = "**A quick run, to see that it works: its figures say little.** " if results["quick"] else ""
    rounds = f"{plan['rounds']} round{'s' if plan['rounds'] > 1 else ''}"
    return (
        f"{quick}`{results['command']}` on {results['date']}: {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['system']}, Python {machine['python']}, {plan['concurrency']} turns at a time, {rounds}."
    )


def _tables(cli: Figures) -> Iterator[tuple[str, str]]:
    cells = cli.get("cells", ())
    yield "Requests a second", _by_cell(cells, ("floor", *_COMPARED), lambda c, name: _one(c, name))
    yield (
        "Added latency, ms (p50 / p95 / p99)",
        _by_cell(cells, _COMPARED, lambda c, name: _added(c, name, "latency_ms")),
    )
    streamed = [c for c in cells if c["stream"]]
    yield (
        "Added time to first token, ms (p50 / p95 / p99)",
        _by_cell(streamed, _COMPARED, lambda c, name: _added(c, name, "first_ms")),
    )
    yield "CPU a request, ms", _cpu(cells)
    yield "Bytes to the API a request", _by_cell(cells, _COMPARED, _bytes)
    yield "Memory and start", _memory(cli)
    yield "The prompt cache in a stateless chat, tokens a turn", _chat(cli.get("caching", {}))


def _name(cell: Figures) -> str:
    title = WORKLOADS[cell["workload"]].title
    clients = "1 client" if cell["clients"] == 1 else f"{cell['clients']} clients"
    return f"{title}, {'streamed' if cell['stream'] else 'whole'}, {clients}"


def _by_cell(cells: Sequence[Figures], names: Sequence[str], value: Any) -> str:
    present = [n for n in names if any(n in c["contestants"] for c in cells)]
    rows = [[_name(c), *(value(c["contestants"], n) for n in present)] for c in cells]
    return table(["", *(LABELS[n] for n in present)], rows)


def _one(contestants: Figures, name: str) -> str:
    return short(figure(contestants, name, "throughput")) + _failures(contestants, name)


def _failures(contestants: Figures, name: str) -> str:
    failed = figure(contestants, name, "failed")
    return f" ({failed:.0f} failed)" if failed else ""


def _added(contestants: Figures, name: str, what: str) -> str:
    values = [added(contestants, what, share, name) for share in ("p50", "p95", "p99")]
    return "-" if values[0] is None else " / ".join(short(v) for v in values)


def _bytes(contestants: Figures, name: str) -> str:
    value = figure(contestants, name, "api_bytes")
    return "-" if value is None else f"{value:,.0f}"


def _cpu(cells: Sequence[Figures]) -> str:
    rows = []
    for c in cells:
        all_ = c["contestants"]
        values = [figure(all_, "ours", "server_cpu_ms")]
        values += [figure(all_, name, "cli_cpu_ms") for name in ("ours", "bare", "per_request")]
        rows.append([_name(c), *(short(v) for v in values)])
    return table(["", "server", "CLI, ours", "CLI, bare loop", "CLI, process per request"], rows)


def _memory(cli: Figures) -> str:
    rows = []
    for name, size in cli.get("worker_memory", {}).items():
        text = f"{size['rss_mb']:.0f} resident, {size['pss_mb']:.0f} with shared pages split up"
        rows.append((f"a CLI process ({LABELS[name]}), MB", text))
    if sizes := cli.get("memory", {}).get("server_rss_mb"):
        done = cli["memory"]["requests"]
        text = f"{sizes[0]:.1f} at first, {max(sizes):.1f} at most, {sizes[-1]:.1f} at last"
        rows.append((f"the server over {done:,} requests, MB", text))
    start = cli.get("start", {})
    if first := start.get("first_request_ms"):
        ready = start["ready_after_ms"]
        rows.append(("first request after the ready line, ms", listed(first)))
        rows.append(("start to ready line, ms (the first tries out the CLI)", listed(ready)))
    return table(("", ""), rows, text_columns=2)


def _chat(caching: Figures) -> str:
    held, strange = caching.get("held", []), caching.get("not_held", [])
    rows = []
    for number in range(max(len(held), len(strange))):
        row = [str(number + 1)]
        for turns in (held, strange):
            known: Mapping[str, int] = turns[number] if number < len(turns) else {}
            row += [str(known.get(key, "-")) for key in ("prompt", "read", "created")]
        rows.append(row)
    head = ["turn", *(f"{where}: {key}" for where in ("held", "not held") for key in _CHAT_COLUMNS)]
    return table(head, rows)


_CHAT_COLUMNS = ("prompt", "read", "written")


def listed(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.0f}" for v in values)


def short(value: float | None) -> str:
    """Two or three digits that matter."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
