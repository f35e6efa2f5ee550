"""A loop of an agent: what is asked, what is compared, and the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_server.standin import Reply, StandIn, ToolUse
from lab.bench import agent_tables
from lab.bench.agent_loop import RESULT_CHARS, SYSTEM, TOOLS, FloorAgent, loop
from lab.bench.agent_measure import Loops, unchanged_prefixes
from lab.bench.contestants import Http
from lab.bench.load import AskFailed
from tests.support import BASE_PATH, ROOT


def message(text: str, *, marked: bool = False) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    return {"role": "user", "content": [block | ({"cache_control": {"type": "ephemeral"}} if marked else {})]}


def body(*messages: dict[str, Any], system: str = "S") -> dict[str, Any]:
    return {"system": system, "tools": [{"name": "a"}], "messages": list(messages)}


def test_unchanged_prefixes() -> None:
    one, two = message("one", marked=True), message("two")
    # The mark of the cache moves on.
    grown = body(message("one"), two, message("three", marked=True))
    assert unchanged_prefixes([body(one), body(one, two), grown]) == (2, 2)
    assert unchanged_prefixes([body(one), body(two, one)]) == (0, 1)
    assert unchanged_prefixes([body(one, two), body(one)]) == (0, 1)
    assert unchanged_prefixes([body(one), body(one, two, system="T")]) == (0, 1)
    assert unchanged_prefixes([]) == (0, 0)


async def test_a_loop_asks_with_all_that_was_said(api: StandIn) -> None:
    http = Http(api.url)
    api.responder = lambda request: Reply.of("Look.", ToolUse("tool_7", {"path": "p"}))
    rounds = await loop(FloorAgent(http), "Question", range(1, 4))
    await http.close()
    assert sorted(rounds) == [1, 2, 3] and all(r.begun < r.first <= r.ended for r in rounds.values())
    bodies = [request.body for request in api.turns]
    assert [len(b["messages"]) for b in bodies] == [1, 3, 5]
    assert unchanged_prefixes(bodies) == (2, 2)
    last = bodies[-1]
    assert len(last["tools"]) == TOOLS and last["system"] == SYSTEM
    (result,) = last["messages"][-1]["content"]
    used = last["messages"][-2]["content"][-1]
    assert (len(result["content"]), result["tool_use_id"]) == (RESULT_CHARS, used["id"])


async def test_rounds_that_are_not_asked_are_made_up(api: StandIn) -> None:
    """And an answer without a call is no round."""
    http = Http(api.url)
    with pytest.raises(AskFailed, match="without a call"):
        await loop(FloorAgent(http), "Question", [3])
    await http.close()
    (request,) = api.turns
    assert len(request.body["messages"]) == 5


def figures(name: str, clients: int, late: float) -> dict[str, Any]:
    loops: dict[str, Any] = Loops(prefix=(99, 99), worker_pss_mb=150.0).figures()
    spread = {"p50": late, "p95": late, "p99": late}
    loops |= {"early_ms": {"p50": 30.0, "p95": 30.0}, "late_ms": spread}
    loops |= {"cpu_first_quarter_ms": [2.0, 20.0], "cpu_last_quarter_ms": [2.0, 22.0]}
    return {"name": name, "clients": clients, **loops}


def test_the_page() -> None:
    spread = {"p50": 50.0, "p95": 90.0, "p99": 99.0}
    burst = {
        "first_ms": spread,
        "start_cpu_ms": 400.0,
        "unused_pss_mb": 90.0,
        "api_bytes": 800,
        "requests": 4,
    }
    cli = {
        "version": "2.1.1",
        "load_before": [0.1],
        "load_after": [2.0],
        "loops": [figures("floor", 1, 10.0), figures("suspended", 1, 60.0), figures("injected", 1, 500.0)],
        "bursts": [{"name": "four kept warm", **burst}],
    }
    results = {
        "quick": False,
        "command": "python -m lab.bench.agents",
        "date": "2026-01-01",
        "machine": {"cores": 2, "cpu": "x", "system": "Linux", "python": "3"},
        "rounds": 100,
        "clis": [cli],
    }
    ((_, goals),) = agent_tables.goals(results)
    assert [goal.reached for goal in goals] == [None, True, True, True, True, True]
    page = agent_tables.page_part(results)
    assert "| ours, 1 agent | +0.0 / +0.0 | +50.0 / +50.0 |" in page
    assert "| ours, injection forced, 1 agent | 2.0 + 20.0 | 2.0 + 22.0 | 0 | 99 of 99 | 150 |" in page


@pytest.mark.alone
@pytest.mark.long
def test_a_quick_run(claude_bin: Path, tmp_path: Path) -> None:
    out = tmp_path / "docs" / "bench"
    argv = [sys.executable, "-m", "lab.bench.agents", "--quick", "--claude-bin", str(claude_bin)]
    environment = {"PATH": BASE_PATH, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [*argv, "--out", str(out)], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    (cli,) = json.loads((out / "agent-loop.json").read_text())["clis"]
    names = [(cell["name"], cell["clients"]) for cell in cli["loops"]]
    assert len(names) == 6 and ("suspended", 2) in names
    ours = next(cell for cell in cli["loops"] if cell["name"] == "suspended" and cell["clients"] == 1)
    assert ours["prefix"] == [11, 11] and ours["worker_pss_mb"] > 10
    page = (tmp_path / "docs" / "agent-loop.md").read_text()
    assert "A round, CLI" in page and str(tmp_path) not in page
