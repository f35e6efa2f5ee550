"""From samples to figures, goals, tables and the picture."""

from __future__ import annotations

import asyncio
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from lab.bench import bare, goals, plot, tables
from lab.bench.load import Answer, AskFailed, ClosedLoop, Limits
from lab.bench.stats import Cpu, Sample, Slot, Tally, growth, quantile, spread_ms
from lab.bench.workloads import ContinuedConversation, FreshQuestions, Turn, filled, history


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0], 0.99, 3.0), ([1.0, 2.0, 3.0], 0.5, 2.0), ([2.0, 1.0], 0.5, 1.5), (range(101), 0.95, 95.0)],
)
def test_quantile(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == pytest.approx(expected)


def test_spread_of_nothing() -> None:
    assert spread_ms([]) is None


def test_growth_leaves_the_warm_up_out() -> None:
    assert growth([0, 9, 10, 10, 10, 10, 10, 10, 12, 14]) == 13 - 10
    assert growth([1, 2]) == 0


def test_a_tally() -> None:
    samples = [Sample(0, 1, 1), Sample(1, 1.1, 1.5), Sample(1.5, 1.6, 2.5), Sample(2.5, 3, 3, ok=False)]
    tally = Tally()
    tally.add(Slot(samples, (1.0, 3.0)), Cpu(0.4, 4.0), 4000, 4)
    figures = tally.figures()
    assert (figures["requests"], figures["failed"], figures["throughput"]) == (4, 1, 1.0)
    assert figures["latency_ms"] == {"p50": 750.0, "p95": 975.0, "p99": 995.0}
    assert figures["first_ms"] == {"p50": 100.0, "p95": 100.0, "p99": 100.0}
    assert (figures["server_cpu_ms"], figures["cli_cpu_ms"], figures["api_bytes"]) == (100.0, 1000.0, 1000)


def test_what_only_prepares_is_no_latency() -> None:
    tally = Tally()
    tally.add(Slot([Sample(0, 9, 9, counts=False), Sample(9, 10, 11)], (0, 11)), Cpu(), 0, 0)
    assert tally.latencies == [2]


async def test_a_closed_loop() -> None:
    running, most = 0, 0

    async def ask(turn: Turn, stream: bool) -> Answer:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return Answer("yes", time.perf_counter())

    limits = Limits(seconds=0.05, requests=5, longest=5.0)
    slot = await ClosedLoop(ask, "yes", False, limits).run([FreshQuestions() for _ in range(3)])
    assert most == 3
    assert len(slot.good) == len(slot.samples)
    assert 0 < len(slot.in_window) <= len(slot.samples) - 3


async def test_failures_end_a_slot() -> None:
    async def ask(turn: Turn, stream: bool) -> Answer:
        raise AskFailed("no")

    slot = await ClosedLoop(ask, "yes", False, Limits(60, 1, 60)).run([FreshQuestions()])
    assert (len(slot.samples), slot.good) == (5, [])


def test_workloads() -> None:
    first, second = FreshQuestions(size=1000, turns=2).next()[0], FreshQuestions(size=1000, turns=2).next()[0]
    assert len(first.question) == len(filled("x", 1000)) == 1000
    assert not {*first.history, first.question} & {*second.history, second.question}
    assert len(history(7, 20)) == 20


def test_a_held_conversation_goes_on_and_then_anew() -> None:
    talker, seen = ContinuedConversation(turns=2, measured=2), []
    for _ in range(4):
        turn, counts = talker.next()
        seen.append((len(turn.history), counts))
        talker.answered("a")
    assert seen == [(2, False), (3, True), (4, True), (2, False)]


def test_the_bare_loop_writes() -> None:
    turn = Turn("q3", (("q1", "a1"), ("q2", "a2")))
    kinds = [[line["type"] for line in lines] for lines in bare.writes(turn, held=False)]
    assert kinds == [["system", "user"], ["assistant", "user"], ["assistant", "user"]]
    assert [[line["type"] for line in lines] for lines in bare.writes(turn, held=True)] == [["user"]]


def contestant(throughput: float, p50: float) -> dict[str, Any]:
    spread = {"p50": p50, "p95": p50 + 10, "p99": p50 + 20}
    return {
        **{"requests": 10, "failed": 0, "throughput": throughput, "latency_ms": spread, "first_ms": spread},
        **{"server_cpu_ms": 2.0, "cli_cpu_ms": 25.0, "api_bytes": 1700, "api_requests": 1.0},
    }


def results() -> dict[str, Any]:
    names = {"floor": (900.0, 2.0), "ours": (45.0, 25.0), "bare": (48.0, 22.0), "per_request": (2.5, 700.0)}
    cells = [
        {
            "workload": workload,
            "stream": stream,
            "clients": clients,
            "contestants": {name: contestant(*values) for name, values in names.items()},
        }
        for workload, stream, clients in (("short", False, 1), ("short", False, 8), ("short", True, 1))
    ]
    turns = [{"prompt": 100 * n, "read": 100 * (n - 1) - 60, "created": 1} for n in range(1, 5)]
    cli = {"version": "2.1.0", "cells": cells, "caching": {"held": turns, "not_held": turns}}
    machine = {"cores": 2, "cpu": "a CPU", "system": "Linux", "python": "3.12"}
    head = {"quick": False, "command": "python -m lab.bench", "date": "2026-01-01", "machine": machine}
    return {**head, "plan": {"concurrency": 8, "rounds": 3}, "clis": [cli]}


def test_goals() -> None:
    lines = {g.text: (g.measured, g.verdict) for g in goals.of_cli(results()["clis"][0], 8)}
    by_start = {text.split(",")[0]: value for text, value in lines.items()}
    assert by_start["throughput with 8 clients: 20 times a process per request with our lean flags"] == (
        "18.0 times",
        "not reached, short by 2.00 times; the bare loop reaches 19.2 times",
    )
    assert by_start["throughput with 8 clients: 90 % of the bare loop"] == ("93.8 %", "reached")
    assert lines["added latency, 1 client, p50: 30 ms"] == ("23.0 ms", "reached")
    assert by_start["first request after the ready line"] == (None, "not measured")
    assert lines["cache reads from turn three, chat held: all that was sent before"] == (
        "up to 60 tokens of it not read",
        "not reached in 2 turns",
    )
    assert lines["cache reads from turn three, chat not held: all but the last exchange"][1] == "reached"


def test_two_turns_say_nothing_about_the_cache() -> None:
    assert goals.unread([{"prompt": 1, "read": 0}] * 2, last_exchange=True) is None


def test_the_picture() -> None:
    root = ET.fromstring(plot.svg(results()))
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"45", "2.5", "700", "ours", "process per request"} <= set(words)
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 3
    assert plot.place(10, 1, 100, 0, 50) == pytest.approx(25)
    assert plot.nice_range([2, 80]) == (1, 100)


def test_a_picture_of_nothing() -> None:
    root = ET.fromstring(plot.svg({"clis": [{"version": "2.1.0"}]}))
    assert root.findall("{http://www.w3.org/2000/svg}polyline") == []


def test_the_tables_go_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "performance.md"
    part = tables.page_part(results(), "bench/plot.svg")
    tables.put(page, "old")
    page.write_text("Before.\n" + page.read_text() + "After.\n")
    tables.put(page, part)
    text = page.read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "| short prompt, whole, 8 clients | 900 | 45.0 | 48.0 | 2.5 |" in text
    assert "| short prompt, streamed, 1 client | 23.0 / 23.0 / 23.0 |" in text
