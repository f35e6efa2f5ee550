"""Which pages, names and machines are served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from claude_server.http.guard.keyfile import KeyFile
from claude_server.http.guard.keys import KeyLimits
from tests.http.guard.application import BEARER, BODY, CHAT, TOKEN, Running, running

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


WEB_VIEWS = (
    *(
        "app://obsidian.md",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnop",
        "capacitor://localhost",
    ),
    *("vscode-webview://*", "moz-extension://*"),
)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("app://obsidian.md", 200),
        ("tauri://localhost", 200),
        ("chrome-extension://abcdefghijklmnop", 200),
        ("capacitor://localhost", 200),
        ("vscode-webview://0a1b2c3d", 200),
        ("moz-extension://d1b2-4e5f", 200),
        ("app://another.md", 403),
        ("chrome-extension://ponmlkjihgfedcba", 403),
        ("vscode-webview-evil://x", 403),
        ("https://vscode-webview://x", 403),
    ],
)
async def test_web_views(tmp_path: Path, origin: str, status: int) -> None:
    """Of programs: each has a scheme of its own, and some give each view a new name."""
    async with running(tmp_path, cors_origins=WEB_VIEWS) as app:
        async with app.client() as client:
            asked = await client.options(CHAT, headers=preflight(origin))
        answer = await app.chat({"origin": origin, "x-stainless-os": "Linux"})
    assert (asked.status_code, answer.status_code) == (status, status)
    if status == 200:
        assert answer.headers["access-control-allow-origin"] == origin
        assert asked.headers["access-control-allow-origin"] == origin
        assert "x-stainless-os" in asked.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "host", ["[::1]:8765", "host.docker.internal:8765", "HOST.containers.internal", "host.lima.internal:1"]
)
async def test_a_container_calls_its_host_by_these_names(keyless: Running, host: str) -> None:
    assert (await keyless.chat({"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["docker.internal", "x.docker.internal", "host.docker.internal.evil.example"]
)
async def test_no_other_names(keyless: Running, host: str) -> None:
    answer = await keyless.chat({"host": host})
    assert answer.status_code == 421
    # It says what to set.
    assert "host.docker.internal" in answer.json()["error"]["message"]
    assert "keys add" in answer.json()["error"]["message"]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"])
async def test_a_proxy_needs_a_key(keyless: Running, keyed: Running, header: str) -> None:
    """Its own address is this machine's, whoever is behind it."""
    answer = await keyless.chat({header: "for=127.0.0.1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")
    assert (
        header.lower() in answer.json()["error"]["message"] and "proxy" in answer.json()["error"]["message"]
    )
    assert (await keyless.get("/livez", **{header: "x"})).status_code == 403
    assert (await keyed.chat({header: "for=127.0.0.1", **BEARER})).status_code == 200


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("host", ("127.0.0.1:8765", "evil.example")),
        ("host", ("evil.example", "127.0.0.1:8765")),
        ("host", ("127.0.0.1:8765", "127.0.0.1:8765")),
        ("origin", (PAGE, "https://evil.example")),
        ("origin", ("https://evil.example", PAGE)),
        ("content-type", ("application/json", "text/plain")),
        ("content-type", ("text/plain", "application/json")),
    ],
)
async def test_two_headers_are_two_answers_to_one_question(
    keyless: Running, keyed: Running, name: str, values: tuple[str, ...]
) -> None:
    given = {"host": "127.0.0.1:8765", "content-type": "application/json"}
    headers = [*((key, value) for key, value in given.items() if key != name), *((name, v) for v in values)]
    for app in (keyless, keyed):
        async with app.client() as client:
            request = httpx.Request(
                "POST", "http://127.0.0.1:8765" + CHAT, headers=[*headers, *BEARER.items()], content=b"{}"
            )
            answer = await client.send(request)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request_error")
        assert f"'{name}'" in answer.json()["error"]["message"]
        assert app.backend.asked == []


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"origin": "https://evil.example"}, {"origin": "https://evil.example", "setting": "CORS_ORIGINS"}),
        ({"origin": "x" * 5000}, {"origin": "x" * 200, "setting": "CORS_ORIGINS"}),
        ({"host": "gateway"}, {"host": "gateway", "setting": "API_KEY"}),
        ({"forwarded": "for=10.0.0.1"}, {"header": "forwarded", "setting": "API_KEY"}),
    ],
)
async def test_the_log_says_who_was_refused_and_what_to_set(
    keyless: Running, headers: dict[str, str], said: dict[str, str]
) -> None:
    with capture_logs() as lines:
        await keyless.chat(headers)
    (line,) = [each for each in lines if each["event"] == "request"]
    assert line["outcome"] == "foreign_origin"
    assert {name: line[name] for name in said} == said


async def test_a_page_without_an_origin_cannot_be_named(keyless: Running) -> None:
    answer = await keyless.chat({"origin": "null"})
    assert "CORS_ORIGINS can't name a page without an origin" in answer.json()["error"]["message"]
