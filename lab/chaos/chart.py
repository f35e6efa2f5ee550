"""The chart of a soak: memory, descriptors and latency over time, one scale from 0 each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from lab.bench.plot import text

_WIDTH, _PANEL, _LEFT, _RIGHT = 860, 150, 64, 690
_TOP, _FOOT = 44, 34
# Title, unit, and (name of the figure, label, colour) of its lines.
_PANELS: Sequence[tuple[str, Sequence[tuple[str, str, str]]]] = (
    ("Resident memory, MB", (("server_mb", "the server", "#c2410c"), ("cli_mb", "a CLI process", "#1d6fa5"))),
    ("Count", (("descriptors", "descriptors", "#c2410c"), ("processes", "CLI processes", "#1d6fa5"))),
    ("Latency of a turn, ms", (("p50", "p50", "#c2410c"), ("p95", "p95", "#8a8f98"))),
)


def svg(results: Mapping[str, Any]) -> str:
    """The picture; `results` as `soak.figures` makes them."""
    height = _TOP + len(_PANELS) * _PANEL + _FOOT
    samples: Sequence[Mapping[str, Any]] = results["samples"]
    title = f"{results['turns']:,} turns in {results['seconds'] / 60:.1f} minutes"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        text(_WIDTH / 2, 22, title, "middle", 'font-weight="600"'),
    ]
    for number, (name, lines) in enumerate(_PANELS):
        parts += _panel(_TOP + number * _PANEL, name, lines, samples)
    end = samples[-1]["at"]
    for share in (0.0, 0.5, 1.0):
        x = _LEFT + share * (_RIGHT - _LEFT)
        parts.append(text(x, height - 12, f"{share * end:.0f} s", "middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    top: float, title: str, lines: Sequence[tuple[str, str, str]], samples: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    bottom = top + _PANEL - 40
    values = [s[name] for name, _, _ in lines for s in samples if s[name] is not None]
    high = ceiling(max(values, default=1.0))
    yield text(_LEFT, top - 2, title, "start", 'font-weight="600"')
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top - 10)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}" stroke="#e2e5e9"/>'
        yield text(_LEFT - 6, y + 4, f"{share * high:g}", "end", 'fill="#555"')
    end = samples[-1]["at"] or 1.0
    for number, (name, label, colour) in enumerate(lines):
        spots = [
            (_LEFT + s["at"] / end * (_RIGHT - _LEFT), bottom - s[name] / high * (bottom - top - 10))
            for s in samples
            if s[name] is not None
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<rect x="{_RIGHT + 16}" y="{top + 12 + 20 * number}" width="12" height="12" fill="{colour}"/>'
        yield text(_RIGHT + 34, top + 22 + 20 * number, label, "start")


def ceiling(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 ... that is no less."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
