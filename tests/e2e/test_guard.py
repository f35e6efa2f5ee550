"""Web pages are kept out before any work is done."""

from __future__ import annotations

import httpx
import pytest

from claude_server.standin import StandIn
from tests.support import PATIENCE, Server

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


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "text/json",
    ],
)
def test_what_a_page_may_send_unasked_is_refused(server: Server, api: StandIn, kind: str | None) -> None:
    """Older browsers send no Origin along."""
    headers = {} if kind is None else {"content-type": kind}
    answer = httpx.post(f"{server.base_url}/chat/completions", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert "application/json" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert api.turns == []


def test_where_nothing_is_read_the_path_is_told_first(server: Server) -> None:
    """A client without the content type may have the wrong address above all."""
    for path, status, said in (("/chat/completions", 404, "must end in /v1"), ("/health", 405, "takes GET")):
        answer = httpx.post(f"{server.url}{path}", content=BODY)
        assert answer.status_code == status and said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"]
)
def test_json_by_its_other_names(server: Server, api: StandIn, kind: str) -> None:
    headers = {"content-type": kind}
    answer = httpx.post(
        f"{server.base_url}/chat/completions", content=BODY, headers=headers, timeout=PATIENCE
    )
    assert answer.status_code == 200
