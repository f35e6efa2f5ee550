"""How many requests a minute an address and a key may send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from claude_server.dialects.table import DIALECTS
from claude_server.http.guard.keyfile import KeyFile
from claude_server.http.guard.keys import KeyLimits
from claude_server.http.guard.rate_limit import route
from tests.http.guard.application import BEARER, BODY, CHAT, TOKEN, Running, running

FEW = {
    **{"rate_limit_enabled": True, "rate_limit_chat": 3, "rate_limit_debug": 1, "rate_limit_auth": 1},
    **{"rate_limit_health": 2, "rate_limit_session": 1, "rate_limit_general": 2},
}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, **FEW) as found:
        yield found


async def statuses(app: Running, path: str, times: int, **headers: str) -> list[int]:
    return [(await app.get(path, **headers)).status_code for _ in range(times)]


async def test_one_too_many(app: Running) -> None:
    assert [(await app.chat()).status_code for _ in range(3)] == [200, 200, 200]
    answer = await app.chat()
    assert answer.status_code == 429
    seconds = answer.json()["error"]["retry_after"]
    assert 1 <= seconds <= 60
    assert answer.json() == {
        "error": {
            "message": f"Rate limit exceeded. Try again in {seconds} seconds.",
            "type": "rate_limit_exceeded",
            "param": None,
            "code": "too_many_requests",
            "retry_after": seconds,
        }
    }
    assert answer.headers["retry-after"] == str(seconds)
    assert answer.headers["x-should-retry"] == "true"
    assert len(app.backend.asked) == 3
    # Other routes are counted by themselves.
    assert await statuses(app, "/v1/models", 3) == [200, 200, 429]
    assert await statuses(app, "/health", 3) == [200, 200, 429]


async def test_each_address_has_its_own_count(tmp_path: Path) -> None:
    async with running(tmp_path, **FEW, api_key=TOKEN, trusted_proxies=("127.0.0.1",)) as app:
        for address in ("198.51.100.1", "198.51.100.2"):
            assert await statuses(app, "/health", 3, **{"x-forwarded-for": address}) == [200, 200, 429]


async def test_an_address_is_not_believed_from_everybody(tmp_path: Path) -> None:
    async with running(tmp_path, **FEW, api_key=TOKEN) as app:
        given = [f"198.51.100.{number}" for number in range(3)]
        found = [(await app.get("/health", **{"x-forwarded-for": one})).status_code for one in given]
        assert found == [200, 200, 429]


async def test_off_by_default(tmp_path: Path) -> None:
    async with running(tmp_path) as app:
        assert set(await statuses(app, "/health", 50)) == {200}


async def test_guessing_a_key_is_limited_too(tmp_path: Path) -> None:
    async with running(tmp_path, **FEW, api_key=TOKEN, cors_origins=("http://a",)) as app:
        found = [
            await app.chat({"x-api-key": f"guess {number}", "origin": "http://a"}) for number in range(4)
        ]
        assert [answer.status_code for answer in found] == [401, 401, 401, 429]
        # A page can read it.
        assert found[-1].headers["access-control-allow-origin"] == "http://a"
        assert "retry-after" in found[-1].headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("method", "path", "counted"),
    [
        *(("POST", each.path, ("chat", f"POST {each.path}")) for each in DIALECTS),
        ("POST", "/v1/chat/completions/x", ("chat", "POST /v1/chat/completions/")),
        ("POST", "/v1/debug/request", ("debug", "POST /v1/debug/")),
        ("GET", "/v1/auth/status", ("auth", "GET /v1/auth/")),
        ("GET", "/health", ("health", "GET /health")),
        ("GET", "/v1/sessions", ("session", "GET /v1/sessions")),
        ("GET", "/v1/sessions/a", ("session", "GET /v1/sessions/")),
        ("GET", "/v1/sessions/b", ("session", "GET /v1/sessions/")),
        ("DELETE", "/v1/sessions/b", ("session", "DELETE /v1/sessions/")),
        ("GET", "/v1/models/x/y", ("general", "GET /v1/models/")),
        ("GET", "/", ("general", "GET other")),
        ("GET", "/healthy", ("general", "GET other")),
        ("BREW", "/v1/coffee/123", ("general", "other other")),
        ("GET", "/livez", None),
        ("GET", "/readyz", None),
    ],
)
def test_what_is_counted_together(method: str, path: str, counted: tuple[str, str] | None) -> None:
    assert route(method, path) == counted


# A key's own limits


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[tuple[Running, dict[str, str], dict[str, str]]]:
    file = KeyFile(tmp_path)
    quick = file.add("quick", KeyLimits(rate=2))
    narrow = file.add("narrow", KeyLimits(concurrency=1))
    async with running(tmp_path, api_key=TOKEN) as found:
        yield found, {"x-api-key": quick}, {"x-api-key": narrow}


async def test_a_keys_rate(keyed: tuple[Running, dict[str, str], dict[str, str]]) -> None:
    app, quick, narrow = keyed
    assert [(await app.chat(quick)).status_code for _ in range(3)] == [200, 200, 429]
    refused = await app.chat(quick)
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert refused.headers["retry-after"] == str(refused.json()["error"]["retry_after"])
    # What does no work isn't counted, and other keys have counts of their own.
    assert (await app.get("/v1/models", **quick)).status_code == 200
    for other in (narrow, BEARER):
        assert [(await app.chat(other)).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("more", [{}, {"stream": True}])
async def test_a_keys_concurrency(
    keyed: tuple[Running, dict[str, str], dict[str, str]], more: dict[str, Any]
) -> None:
    app, _, narrow = keyed
    app.backend.door.clear()
    first = asyncio.create_task(app.chat(narrow, **more))
    await app.backend.was_asked(1)
    refused = await app.chat(narrow, **more)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "concurrency_limit_exceeded"
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("1", "true")
    assert (await app.get("/v1/models", **narrow)).status_code == 200
    other = asyncio.create_task(app.chat(BEARER))
    await app.backend.was_asked(2)
    app.backend.door.set()
    assert [(await task).status_code for task in (first, other)] == [200, 200]
    assert (await app.chat(narrow)).status_code == 200


async def test_a_client_that_leaves_gives_its_place_back(
    keyed: tuple[Running, dict[str, str], dict[str, str]],
) -> None:
    app, _, narrow = keyed
    app.backend.door.clear()
    async with app.client() as client:
        first = asyncio.create_task(client.post(CHAT, json=BODY, headers=narrow))
        await app.backend.was_asked(1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    app.backend.door.set()
    assert (await app.chat(narrow)).status_code == 200
