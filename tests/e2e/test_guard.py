"""Web pages are kept out before any work is done."""

from __future__ import annotations

import httpx
import pytest

from standin import StandIn
from tests.support import Server

BODY = '{"messages": [{"role": "user", "content": "hi"}]}'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8765"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "[::2]:80"}, 421),
        ({"host": "[::1].evil.example"}, 421),
        ({"host": "localhost:80@evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"origin": "https://evil.example", "content-type": "text/plain"}, 403),
    ],
)
def test_foreign_pages_are_refused(
    server: Server, api: StandIn, headers: dict[str, str], status: int
) -> None:
    answer = httpx.post(f"{server.base_url}/chat/completions", content=BODY, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"] and answer.headers["x-should-retry"] == "false"
    assert api.turns == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:1", "[::1]:80", "[::1]"])
def test_this_machine_has_several_names(server: Server, host: str) -> None:
    assert httpx.get(f"{server.url}/health", headers={"host": host}).status_code == 200


def test_the_servers_own_page_may_use_it(server: Server) -> None:
    assert httpx.get(f"{server.url}/health", headers={"origin": server.url}).status_code == 200
    # A page of ours that loads scripts from elsewhere would let those in.
    assert httpx.get(f"{server.url}/docs").status_code == 404
