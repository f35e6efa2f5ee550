"""/v1/sessions over HTTP, on records that are there already."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import AsyncGenerator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from claude_server.core.ports import Lock
from claude_server.http.guard.keys import from_settings
from claude_server.stores.sessions import SessionRegistry
from tests.support import IdleBackend

# What people call sessions.
NAMES = ("my-session", "a/b/c", "/", "é ☃", "100% ?x=1#y", "sessions/stats", "x" * 256, "..", "a\n\0\n")
NOT_FOUND = {"message": "Session not found", "param": None, "code": "session_not_found"}


@contextlib.asynccontextmanager
async def running(folder: Path, key: str = "", **settings: Any) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client of the application, with a key."""
    app = create_app(Settings(state_dir=folder, **settings), IdleBackend())
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=headers
        ) as client,
    ):
        yield client


@pytest.fixture
async def client(tmp_path: Path) -> AsyncGenerator[httpx.AsyncClient, None]:
    async with running(tmp_path) as made:
        yield made


async def acquire(lock: Lock) -> None:
    await lock.acquire()


async def add(folder: Path, *names: str, owner: str = "", ago: float = 0.0) -> None:
    """Records of sessions with one turn each, that brought two earlier messages along."""
    now = datetime.now(timezone.utc).timestamp()
    registry = SessionRegistry(folder, clock=lambda: now - ago)
    await registry.open()
    for name in names:
        async with registry.hold(owner, name, acquire) as session:
            await session.create("")
            await session.record_answer("m", 0.25, 4)
    await registry.close()


async def test_the_list(client: httpx.AsyncClient, tmp_path: Path) -> None:
    assert (await client.get("/v1/sessions")).json() == {"sessions": [], "total": 0}
    await add(tmp_path, "older", ago=10)
    await add(tmp_path, "newer")
    body = (await client.get("/v1/sessions")).json()
    assert body["total"] == 2
    assert [session["session_id"] for session in body["sessions"]] == ["newer", "older"]
    older = body["sessions"][1]
    assert set(older) == {
        *("session_id", "created_at", "last_accessed", "message_count", "expires_at", "turns", "cost_usd")
    }
    assert (older["message_count"], older["turns"], older["cost_usd"]) == (4, 1, 0.25)
    created, used, expires = (
        datetime.fromisoformat(older[name]) for name in ("created_at", "last_accessed", "expires_at")
    )
    assert created.tzinfo is not None and (expires - used).total_seconds() == pytest.approx(3600)
    assert (datetime.now(timezone.utc) - used).total_seconds() == pytest.approx(10, abs=5)


async def test_ten_thousand_sessions_come_in_pages(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Each is answered soon, however large the system prompts are, and holds nobody up."""
    await add(tmp_path, "first")
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) "
            "INSERT INTO sessions (owner, session_id, uuid, system, turns, created_at, last_used) "
            "SELECT '', 's' || i, 'u' || i, hex(zeroblob(5000)), 1, 0, last_used - i / 10.0 FROM n, sessions"
        )
        db.commit()
    began = time.monotonic()
    body = (await client.get("/v1/sessions")).json()
    assert time.monotonic() - began < 2
    assert (len(body["sessions"]), body["total"], body["sessions"][0]["session_id"]) == (500, 10_000, "first")
    last = (await client.get("/v1/sessions?limit=10&offset=9995")).json()
    assert [s["session_id"] for s in last["sessions"]] == [f"s{i}" for i in range(9995, 10_000)]
    for wrong, param in (("limit=0", "limit"), ("limit=501", "limit"), ("offset=x", "offset")):
        refused = await client.get(f"/v1/sessions?{wrong}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_can_be_looked_at_and_deleted(
    client: httpx.AsyncClient, tmp_path: Path, name: str
) -> None:
    await add(tmp_path, name, "another")
    # Dots too: clients take ".." in a path for the folder above.
    path = f"/v1/sessions/{quote(name, safe='').replace('.', '%2E')}"
    found = await client.get(path)
    assert (found.status_code, found.json()["session_id"]) == (200, name)
    deleted = await client.delete(path)
    assert deleted.json() == {"message": f"Session {name} deleted successfully"}
    for gone in (await client.get(path), await client.delete(path)):
        assert gone.status_code == 404
        assert gone.json()["error"] == {**NOT_FOUND, "type": "invalid_request_error"}
    assert [s["session_id"] for s in (await client.get("/v1/sessions")).json()["sessions"]] == ["another"]


@pytest.mark.parametrize("name", ["", "x" * 257, "nobody", "%ff"])
async def test_there_is_no_such_session(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/v1/sessions/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"] == {**NOT_FOUND, "type": "invalid_request_error"}


async def test_looking_renews_and_expiry_hides(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await add(tmp_path, "looked at", ago=3590)
    await add(tmp_path, "expired", ago=3610)
    (listed,) = (await client.get("/v1/sessions")).json()["sessions"]
    looked = (await client.get("/v1/sessions/looked at")).json()
    assert looked["expires_at"] > listed["expires_at"]
    assert (await client.get("/v1/sessions/expired")).status_code == 404
    stats = (await client.get("/v1/sessions/stats")).json()["session_stats"]
    assert stats == {"active_sessions": 1, "expired_sessions": 1, "total_messages": 4}
    # What expired can be gone on with, so it can be deleted.
    assert (await client.delete("/v1/sessions/expired")).status_code == 200
    assert (await client.get("/v1/sessions/stats")).json()["session_stats"]["expired_sessions"] == 0


async def test_the_stats_say_what_holds(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        text = (await client.get("/v1/sessions/stats")).text
        assert text == (
            '{"session_stats":{"active_sessions":0,"expired_sessions":0,"total_messages":0},'
            '"cleanup_interval_minutes":5,"default_ttl_hours":1}'
        )
    async with running(tmp_path, session_ttl=90) as client:
        body = (await client.get("/v1/sessions/stats")).json()
        assert (body["cleanup_interval_minutes"], body["default_ttl_hours"]) == (0.125, 0.025)


async def test_a_key_sees_its_own(tmp_path: Path) -> None:
    first, second = "first-key-of-sixteen-or-more", "second-key-of-sixteen-or-more"
    uuid = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"
    await add(tmp_path, uuid, "a", owner=from_settings("1", first).id)
    await add(tmp_path, "a", "b", owner=from_settings("2", second).id)
    keys: dict[str, Any] = {"api_keys": [first, second]}
    async with running(tmp_path, first, **keys) as client:
        body = (await client.get("/v1/sessions")).json()
        assert {session["session_id"] for session in body["sessions"]} == {uuid, "a"}
        assert (await client.get("/v1/sessions/b")).status_code == 404
        assert (await client.delete("/v1/sessions/a")).status_code == 200
    async with running(tmp_path, second, **keys) as client:
        assert (await client.get("/v1/sessions")).json()["total"] == 2
        for answer in (await client.get(f"/v1/sessions/{uuid}"), await client.delete(f"/v1/sessions/{uuid}")):
            assert answer.status_code == 404
    async with running(tmp_path, first, **keys) as client:
        assert (await client.get(f"/v1/sessions/{uuid}")).status_code == 200
    async with running(tmp_path, **keys) as client:
        assert (await client.get("/v1/sessions")).status_code == 401


async def test_records_that_can_not_be_read(client: httpx.AsyncClient, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as other:
        other.execute("DROP TABLE sessions")
    for method, path in (("GET", ""), ("GET", "/stats"), ("GET", "/a"), ("DELETE", "/a")):
        answer = await client.request(method, f"/v1/sessions{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "state_failed")
