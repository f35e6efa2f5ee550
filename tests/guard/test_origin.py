"""Which pages, names and machines are served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guard.keyfile import KeyFile
from guard.keys import KeyLimits
from tests.guard.application import BEARER, BODY, CHAT, TOKEN, Running, running

PAGE = "http://localhost:3000"


@pytest.fixture
async def keyless(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, cors_origins=(PAGE, "https://app.example")) as found:
        yield found


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, cors_origins=(PAGE,), api_key=TOKEN) as found:
        yield found


@pytest.mark.parametrize("host", ["evil.example", "192.168.1.2", "gateway.internal:8765"])
async def test_the_host_counts_only_while_no_key_is_set(keyless: Running, keyed: Running, host: str) -> None:
    assert (await keyless.chat({"host": host})).status_code == 421
    assert (await keyed.chat({"host": host, **BEARER})).status_code == 200
    assert (await keyed.chat({"host": host})).status_code == 401


async def test_a_first_key_lifts_the_check_of_the_host(tmp_path: Path) -> None:
    async with running(tmp_path) as app:
        assert (await app.chat({"host": "gateway"})).status_code == 421
        token = KeyFile(tmp_path).add("a", KeyLimits())
        assert (await app.chat({"host": "gateway", "x-api-key": token})).status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("192.168.1.2", 403),
        ("2001:db8::1", 403),
        ("::ffff:10.0.0.1", 403),
    ],
)
async def test_other_machines_need_a_key(keyless: Running, keyed: Running, address: str, status: int) -> None:
    """A server under a uvicorn of the operator's own listens where that is told to."""
    async with keyless.client(address) as client:
        assert (await client.post(CHAT, json=BODY)).status_code == status
    async with keyed.client(address) as client:
        assert (await client.post(CHAT, json=BODY, headers=BEARER)).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (PAGE, 200),
        ("HTTP://LOCALHOST:3000", 200),
        ("https://app.example", 200),
        # Its own, and as a proxy that does TLS shows it.
        ("http://127.0.0.1:8765", 200),
        ("https://127.0.0.1:8765", 200),
        ("http://localhost:3001", 403),
        ("https://localhost:3000", 403),
        ("http://app.example", 403),
        ("https://app.example.evil", 403),
        ("null", 403),
        ("", 403),
        ("*", 403),
    ],
)
async def test_origins(keyless: Running, origin: str, status: int) -> None:
    answer = await keyless.chat({"origin": origin})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "foreign_origin"
        assert "access-control-allow-origin" not in answer.headers
    assert len(keyless.backend.asked) == (status == 200)


async def test_a_foreign_page_is_refused_whatever_its_key(keyed: Running) -> None:
    assert (await keyed.chat({"origin": "https://evil.example", **BEARER})).status_code == 403


async def test_a_page_may_read_its_answer(keyed: Running) -> None:
    answer = await keyed.chat({"origin": PAGE, **BEARER}, session_id="s")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    shown = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "x-claude-session", "retry-after"} <= set(shown)
    # What it did wrong, too.
    refused = await keyed.chat({"origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def preflight(origin: str) -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-os",
        "access-control-request-private-network": "true",
    }


async def test_a_preflight_needs_no_key(keyed: Running) -> None:
    async with keyed.client() as client:
        answer = await client.options(CHAT, headers=preflight(PAGE))
        foreign = await client.options(CHAT, headers=preflight("https://evil.example"))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert foreign.status_code == 403
    assert keyed.backend.asked == []


async def test_cors_is_off_by_default(tmp_path: Path) -> None:
    async with running(tmp_path) as app:
        async with app.client() as client:
            assert (await client.options(CHAT, headers=preflight(PAGE))).status_code == 403
        assert (await app.chat({"origin": PAGE})).status_code == 403
        assert "access-control-allow-origin" not in (await app.chat()).headers


async def test_every_page_with_a_key(tmp_path: Path) -> None:
    async with running(tmp_path, cors_origins=("*",), api_key=TOKEN) as app:
        answer = await app.chat({"origin": "https://any.example", **BEARER})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert (await app.chat({"origin": "https://any.example"})).status_code == 401
