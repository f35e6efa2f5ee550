"""What a run comes to: the figures, what must be 0, and the verdict. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lab.bench.stats import spread_ms
from lab.chaos import crowd, verdict
from lab.chaos.marks import conversations_in
from lab.chaos.run import RunResult

# What is counted while it runs and must not have happened. The others are taken from the rest at the end.
_NEVER = (
    verdict.WRONG,
    "cross-talk to clients",
    "cross-talk upstream",
    "wrong requests upstream",
    "strange requests",
    verdict.BROKEN_END,
    verdict.STRANGE_ERROR,
    crowd.HUNG,
    crowd.REFUSED,
    crowd.FORGOT,
    "failures while all was well",
    "mistakes of the stand-in",
)
_LOUD = frozenset({"error", "critical"})


def must_be_zero(found: RunResult) -> dict[str, int]:
    """Each of them, counted."""
    counts = {what: found.book.counts[what] for what in _NEVER}
    assert set(found.book.counts) <= set(counts), found.book.counts
    counts |= {f"leaked {what}": number for what, number in found.after.leaks(found.before).items()}
    counts["processes that outlived the server"] = found.left_running
    counts["exit status of the server"] = abs(found.exit_status if found.exit_status is not None else 1)
    counts["mistakes in the server's log"] = len(mistakes(found))
    counts["texts of requests in the server's log"] = len(conversations_in(found.log + found.output))
    return counts


def mistakes(found: RunResult) -> list[str]:
    """What the server says went wrong with itself: lines of level error, and tracebacks."""
    lines = []
    for line in found.log.splitlines():
        try:
            level = json.loads(line).get("level")
        except ValueError:
            level = "error"
        if level in _LOUD:
            lines.append(line)
    return lines + [line for line in found.output.splitlines() if "Traceback" in line]


def figures(found: RunResult) -> dict[str, Any]:
    """All of it as JSON."""
    tally = found.tally
    named = {verdict.RIGHT, verdict.LEFT}
    return {
        "requests": tally.requests.total(),
        "requests_by_kind": dict(tally.requests),
        "right": tally.outcomes[verdict.RIGHT],
        "left": tally.outcomes[verdict.LEFT],
        "errors": {name: n for name, n in tally.outcomes.most_common() if name not in named},
        "errors_in_streams": tally.after_200,
        "retries_in_right_answers": tally.retries,
        "sessions_made_again": tally.made_again,
        "latency_ms": spread_ms(tally.latencies),
        "faults": dict(found.faults),
        "trouble_upstream": dict(found.upstream),
        "disk": found.disk,
        "before": found.before.as_json(),
        "after": found.after.as_json(),
        "must_be_zero": must_be_zero(found),
        "findings": [*found.book.findings, *mistakes(found)[:20]],
    }


def failed(results: Mapping[str, Any]) -> bool:
    """Is something there that must not be, or nothing that should be?"""
    return any(results["must_be_zero"].values()) or not results["right"]


def text(results: Mapping[str, Any]) -> str:
    """The report as a person reads it."""
    return "\n".join(_lines(results))


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    yield f"requests             {results['requests']}"
    yield f"  right answers      {results['right']}"
    yield f"  the client left    {results['left']}"
    for name, number in results["errors"].items():
        yield f"  {name:18} {number}"
    yield f"of the errors, in streams that had begun: {results['errors_in_streams']}"
    yield f"retries behind right answers: {results['retries_in_right_answers']}"
    yield f"sessions made again, and said so: {results['sessions_made_again']}"
    if results["latency_ms"]:
        spread = ", ".join(f"{name} {value:.0f}" for name, value in results["latency_ms"].items())
        yield f"latency of right answers, ms: {spread}"
    yield f"faults ({results['disk']} as the disk): {_listed(results['faults'])}"
    yield f"trouble upstream: {_listed(results['trouble_upstream'])}"
    yield "must be 0:"
    for name, number in results["must_be_zero"].items():
        yield f"  {name:40} {number}{'' if not number else '   <--'}"
    for line in results["findings"]:
        yield f"  {line}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "none"
