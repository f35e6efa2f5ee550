"""A picture of a run, written by hand: throughput by clients, and latency with one client. Both scales are
logarithmic: a warm process and a new one lie a factor of twenty apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from lab.bench.goals import Figures, cell, figure

LABELS: Mapping[str, str] = {
    "floor": "the stand-in itself",
    "ours": "ours",
    "bare": "bare loop",
    "per_request": "process per request",
    "per_request_default": "the same, default flags",
}
COLOURS: Mapping[str, str] = {
    "floor": "#8a8f98",
    "ours": "#c2410c",
    "bare": "#1d6fa5",
    "per_request": "#4d7c0f",
}
_SHARES = ("p50", "p95", "p99")
_WIDTH, _HEIGHT = 860, 340
_TOP, _BOTTOM = 56, 268


def nice_range(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten around the values; one decade at least."""
    low = 10.0 ** math.floor(math.log10(min(values)))
    high = 10.0 ** math.ceil(math.log10(max(values)))
    return low, high if high > low else low * 10


def place(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where a value lies between two ends of a logarithmic scale."""
    share = (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return start + share * (end - start)


def svg(results: Figures) -> str:
    """The picture of the first CLI in the results."""
    cli = results["clis"][0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape('Throughput and latency, CLI ' + cli['version'])}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        *_throughput(cli),
        *_latency(cli),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _throughput(cli: Figures) -> Iterator[str]:
    clients = sorted(
        {c["clients"] for c in cli.get("cells", ()) if (c["workload"], c["stream"]) == ("short", False)}
    )
    lines = {
        name: [
            (n, value)
            for n in clients
            if (value := figure(cell(cli, "short", False, n), name, "throughput")) is not None and value > 0
        ]
        for name in ("ours", "bare", "per_request")
    }
    values = [value for points in lines.values() for _, value in points]
    if not values:
        return
    left, right = 56.0, 400.0
    low, high = nice_range(values)
    yield text((left + right) / 2, 24, "Requests a second, by clients", "middle", 'font-weight="600"')
    yield from _scale(low, high, left, right)
    step = (right - left) / len(clients)
    x_of = {n: left + step * (i + 0.5) for i, n in enumerate(clients)}
    for n in clients:
        yield text(x_of[n], _BOTTOM + 18, str(n), "middle")
    for name, points in lines.items():
        spots = [(x_of[n], place(value, low, high, _BOTTOM, _TOP)) for n, value in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        colour = COLOURS[name]
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for (x, y), (_, value) in zip(spots, points, strict=True):
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
            # Ours and the bare loop lie close together: one number above, the other below.
            yield text(x, y + (16 if name == "ours" else -8), _short(value), "middle", f'fill="{colour}"')


def _latency(cli: Figures) -> Iterator[str]:
    contestants = cell(cli, "short", False, 1)
    bars = {
        name: [v for share in _SHARES if (v := figure(contestants, name, "latency_ms", share))]
        for name in COLOURS
    }
    bars = {name: values for name, values in bars.items() if len(values) == len(_SHARES)}
    if not bars:
        return
    left, right = 486.0, 830.0
    low, high = nice_range([v for values in bars.values() for v in values])
    low = low / 10 if low == min(v for values in bars.values() for v in values) else low
    title = "Latency with one client, ms: p50, p95, p99"
    yield text((left + right) / 2, 24, title, "middle", 'font-weight="600"')
    yield from _scale(low, high, left, right)
    step = (right - left) / len(bars)
    width = step * 0.8 / len(_SHARES)
    for i, (name, values) in enumerate(bars.items()):
        for j, value in enumerate(values):
            x = left + step * (i + 0.1) + j * width
            y = place(value, low, high, _BOTTOM, _TOP)
            yield (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{_BOTTOM - y:.1f}" '
                f'fill="{COLOURS[name]}" fill-opacity="{1 - 0.28 * j:.2f}"/>'
            )
            yield text(x + width / 2 - 1, y - 5, _short(value), "middle", 'font-size="10"')


def _scale(low: float, high: float, left: float, right: float) -> Iterator[str]:
    value = low
    while value <= high * 1.001:
        y = place(value, low, high, _BOTTOM, _TOP)
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e2e5e9"/>'
        yield text(left - 6, y + 4, f"{value:g}", "end", 'fill="#555"')
        value *= 10


def _legend() -> Iterator[str]:
    for i, (name, colour) in enumerate(COLOURS.items()):
        x = 120 + 170 * i
        yield f'<rect x="{x}" y="{_HEIGHT - 30}" width="12" height="12" fill="{colour}"/>'
        yield text(x + 18, _HEIGHT - 20, LABELS[name], "start")


def text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
