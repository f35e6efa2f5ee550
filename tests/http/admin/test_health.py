"""GET /health: what it shows of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.app.main import create_app
from claude_server.configuration.settings import SERVICE, VERSION, Settings
from claude_server.core.backend import EngineState
from tests.support import IdleBackend


async def health(state: EngineState, tmp_path: Path) -> dict[str, Any]:
    app = create_app(Settings(state_dir=tmp_path, max_concurrency=3, max_queue=7), IdleBackend(state))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/health")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    assert body.pop("tasks") >= 1
    return body


async def test_a_server_that_can_serve(tmp_path: Path) -> None:
    state = EngineState(
        ready=True,
        level="warm",
        cli_version="2.1.330",
        logged_in=True,
        login_method="claude.ai",
        processes=2,
        abilities={"inject": True, "empty": False},
        workers={"idle": 1, "reused": 40},
    )
    assert await health(state, tmp_path) == {
        "status": "healthy",
        "service": SERVICE,
        "version": VERSION,
        "cli": {
            "version": "2.1.330",
            "logged_in": True,
            "login_method": "claude.ai",
            "engine": "warm",
            "abilities": {"inject": True, "empty": False},
            "processes": 2,
            "workers": {"idle": 1, "reused": 40},
            "problem": None,
        },
        "slots": {"capacity": 3, "running": 0},
        "queue": {"capacity": 7, "waiting": 0, "refused": 0},
    }


@pytest.mark.parametrize("level", ["none", "plain"])
async def test_a_server_that_cannot(tmp_path: Path, level: str) -> None:
    body = await health(EngineState(ready=False, level=level, problem="no CLI"), tmp_path)
    assert (body["status"], body["cli"]["problem"], body["cli"]["engine"]) == ("unhealthy", "no CLI", level)
    assert (body["cli"]["abilities"], body["cli"]["workers"], body["cli"]["version"]) == ({}, {}, None)


async def test_trouble_with_the_account_is_shown_though_turns_may_succeed(tmp_path: Path) -> None:
    state = EngineState(ready=True, level="warm", account_problem="Credit balance is too low. Add credit.")
    body = await health(state, tmp_path)
    assert (body["status"], body["cli"]["problem"]) == ("healthy", state.account_problem)


async def test_monitors_that_ask_by_head(tmp_path: Path) -> None:
    app = create_app(Settings(state_dir=tmp_path), IdleBackend(EngineState(ready=False, level="none")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        found = {path: (await client.head(path)).status_code for path in ("/health", "/livez", "/readyz")}
    assert found == {"/health": 200, "/livez": 200, "/readyz": 503}
