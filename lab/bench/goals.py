"""The goals, as ratios and differences of one run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.bench.stats import quantile

# Two fifths of 5,000 requests apart; less than this is the allocator's noise.
FLAT_MB = 2.0
# The stand-in rounds each of its counts up.
_ROUNDING = 2

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """One line. `measured` None: this run didn't look."""

    text: str
    measured: str | None
    verdict: str
    reached: bool | None


def at_least(text: str, value: float | None, limit: float, unit: str, ceiling: float | None = None) -> Goal:
    """`ceiling`: what the bare loop reaches, which nobody with the same CLI can pass."""
    goal = _judged(text, value, limit, unit, value is not None and value >= limit, "short by")
    if goal.reached is not False or ceiling is None:
        return goal
    return replace(goal, verdict=f"{goal.verdict}; the bare loop reaches {number(ceiling, unit)}")


def at_most(text: str, value: float | None, limit: float, unit: str) -> Goal:
    return _judged(text, value, limit, unit, value is not None and value <= limit, "over by")


def _judged(text: str, value: float | None, limit: float, unit: str, reached: bool, miss: str) -> Goal:
    if value is None:
        return Goal(text, None, "not measured", None)
    if reached:
        return Goal(text, number(value, unit), "reached", True)
    return Goal(text, number(value, unit), f"not reached, {miss} {number(abs(limit - value), unit)}", False)


def number(value: float, unit: str) -> str:
    """Three significant digits and the unit."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {unit}".rstrip()


def cell(cli: Figures, workload: str, stream: bool, clients: int) -> Figures:
    """The contestants' figures in a cell, or nothing."""
    for each in cli.get("cells", ()):
        if (each["workload"], each["stream"], each["clients"]) == (workload, stream, clients):
            found: Figures = each["contestants"]
            return found
    return {}


def figure(contestants: Figures, name: str, *path: str) -> float | None:
    """contestants[name][path...], None where it is missing."""
    value: Any = contestants.get(name)
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None


def difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b


def added(contestants: Figures, what: str, share: str, name: str = "ours") -> float | None:
    """What a contestant adds to the floor, in milliseconds. `what`: latency_ms or first_ms."""
    return difference(figure(contestants, name, what, share), figure(contestants, "floor", what, share))


def of_cli(cli: Figures, concurrency: int) -> list[Goal]:
    """The goals as one CLI reaches them."""
    full = cell(cli, "short", False, concurrency)
    one, streamed = cell(cli, "short", False, 1), cell(cli, "short", True, 1)
    ours, bare = figure(full, "ours", "throughput"), figure(full, "bare", "throughput")
    starts = cli.get("start", {}).get("first_request_ms") or [None]
    short_p50 = figure(one, "ours", "latency_ms", "p50")
    costs = {
        name: difference(figure(cell(cli, name, False, 1), "ours", "latency_ms", "p50"), short_p50)
        for name in ("history", "held")
    }
    share = ratio(figure(full, "ours", "server_cpu_ms"), figure(full, "ours", "cli_cpu_ms"))
    at = f"with {concurrency} clients"
    return [
        at_least(
            f"throughput {at}: 20 times a process per request with our lean flags",
            ratio(ours, figure(full, "per_request", "throughput")),
            20,
            "times",
            ratio(bare, figure(full, "per_request", "throughput")),
        ),
        at_least(
            f"throughput {at}: 20 times a process per request with default flags",
            ratio(ours, figure(full, "per_request_default", "throughput")),
            20,
            "times",
            ratio(bare, figure(full, "per_request_default", "throughput")),
        ),
        at_least(f"throughput {at}: 90 % of the bare loop", _percent(ratio(ours, bare)), 90, "%"),
        at_most("added latency, 1 client, p50: 30 ms", added(one, "latency_ms", "p50"), 30, "ms"),
        at_most("added latency, 1 client, p95: 60 ms", added(one, "latency_ms", "p95"), 60, "ms"),
        at_most("added time to first token, p50: 25 ms", added(streamed, "first_ms", "p50"), 25, "ms"),
        at_most("first request after the ready line, median: 150 ms", _median(starts[1:]), 150, "ms"),
        at_most("20 earlier turns, first sight, cost more: 130 ms", costs["history"], 130, "ms"),
        at_most("20 earlier turns, just served, cost more: 10 ms", costs["held"], 10, "ms"),
        at_most("the server's CPU against the CLI's: 10 %", _percent(share), 10, "%"),
        at_most(_memory_text(cli), cli.get("memory", {}).get("growth_mb"), FLAT_MB, "MB"),
        *_caching(cli.get("caching", {})),
    ]


def _memory_text(cli: Figures) -> str:
    requests = cli.get("memory", {}).get("requests", 5000)
    return f"the server's memory over {requests:,} requests grows by at most {FLAT_MB:.0f} MB"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return quantile(known, 0.5) if known else None


def _caching(caching: Figures) -> Iterator[Goal]:
    for key, text in (
        ("held", "cache reads from turn three, chat held: all that was sent before"),
        ("not_held", "cache reads from turn three, chat not held: all but the last exchange"),
    ):
        missing = unread(caching.get(key, ()), last_exchange=key == "held")
        if missing is None:
            yield Goal(text, None, "not measured", None)
            continue
        worst = max(missing)
        good = worst <= _ROUNDING
        measured = "all of it, every turn" if good else f"up to {worst} tokens of it not read"
        verdict = "reached" if good else f"not reached in {sum(m > _ROUNDING for m in missing)} turns"
        yield Goal(text, measured, verdict, good)


def unread(turns: Sequence[Mapping[str, int]], *, last_exchange: bool) -> list[int] | None:
    """Tokens a turn, from the third on, that the API had seen and that weren't read from the cache.

    All turns are of one length, so a turn's growth is one exchange; it counts only with `last_exchange`.
    None if there is no third turn.
    """
    if len(turns) < 3:
        return None
    result = []
    for before, now in itertools.pairwise(turns[1:]):
        exchange = 0 if last_exchange else now["prompt"] - before["prompt"]
        result.append(max(0, before["prompt"] - exchange - now["read"]))
    return result
