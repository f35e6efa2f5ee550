"""From samples to figures. Plain functions; seconds in, milliseconds where a name says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sample:
    """One request; times of one clock, in seconds. `counts` is False for what only prepares."""

    begun: float
    first: float
    ended: float
    ok: bool = True
    counts: bool = True


@dataclass(frozen=True)
class Slot:
    """A stretch of closed-loop load. The window begins when every client has had its first answer."""

    samples: Sequence[Sample]
    window: tuple[float, float]

    @property
    def good(self) -> list[Sample]:
        return [s for s in self.samples if s.ok]

    @property
    def in_window(self) -> list[Sample]:
        """What ended in the window: the throughput counts these."""
        start, end = self.window
        return [s for s in self.good if start < s.ended <= end]


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU so far."""

    server: float = 0.0
    cli: float = 0.0

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.server - other.server, self.cli - other.cli)


@dataclass
class Tally:
    """What all slots of one contestant in one cell add up to."""

    latencies: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    done: int = 0
    seconds: float = 0.0
    requests: int = 0
    failed: int = 0
    server_cpu: float = 0.0
    cli_cpu: float = 0.0
    api_bytes: int = 0
    api_requests: int = 0
    rounds: list[float] = field(default_factory=list)

    def add(self, slot: Slot, cpu: Cpu, api_bytes: int, api_requests: int) -> None:
        counted = [s for s in slot.good if s.counts and s.begun >= slot.window[0]]
        counted = counted or [s for s in slot.good if s.counts]
        self.latencies += [s.ended - s.begun for s in counted]
        self.firsts += [s.first - s.begun for s in counted]
        done, seconds = len(slot.in_window), slot.window[1] - slot.window[0]
        self.done += done
        self.seconds += seconds
        self.rounds.append(done / seconds if seconds > 0 else 0.0)
        self.requests += len(slot.samples)
        self.failed += len(slot.samples) - len(slot.good)
        self.server_cpu += cpu.server
        self.cli_cpu += cpu.cli
        self.api_bytes += api_bytes
        self.api_requests += api_requests

    def figures(self) -> dict[str, object]:
        """The JSON of it. Times in milliseconds, throughput in requests a second."""
        each = max(1, self.requests)
        return {
            "requests": self.requests,
            "failed": self.failed,
            "throughput": rounded(self.done / self.seconds) if self.seconds > 0 else None,
            "rounds": [rounded(r) for r in self.rounds],
            "latency_ms": spread_ms(self.latencies),
            "first_ms": spread_ms(self.firsts),
            "server_cpu_ms": rounded(1000 * self.server_cpu / each),
            "cli_cpu_ms": rounded(1000 * self.cli_cpu / each),
            "api_bytes": round(self.api_bytes / each),
            "api_requests": rounded(self.api_requests / each),
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of all lie, between neighbours in proportion. Not of none."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread_ms(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and p99 in milliseconds of values in seconds; None of none."""
    if not values:
        return None
    return {name: rounded(1000 * quantile(values, p)) for name, p in QUANTILES.items()}


QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def rounded(value: float) -> float:
    """Three significant digits after the point for small ones: enough to compute ratios from."""
    return round(value, 3)


def growth(values: Sequence[float]) -> float:
    """How much the last fifth of a series is above its second fifth, by their means: the first one warms up.

    0 for a series of fewer than five.
    """
    fifth = len(values) // 5
    if not fifth:
        return 0.0
    second, last = values[fifth : 2 * fifth], values[-fifth:]
    return sum(last) / fifth - sum(second) / fifth
