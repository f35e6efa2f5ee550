"""Requests as clients send them that can't be installed here: answered, and whole when they reach the API."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from claude_server.standin import Reply, StandIn, ToolUse
from tests.clients.environments import HERE
from tests.clients.scenes import blocks
from tests.support import PATIENCE, Server

FIXTURES = [json.loads(file.read_text()) for file in sorted((HERE / "fixtures").glob("*.json"))]
CASES = [
    pytest.param(request, id=f"{fixture['client']}: {request['what']}")
    for fixture in FIXTURES
    for request in fixture["requests"]
]


@pytest.mark.parametrize("case", CASES)
def test_replayed(case: dict[str, Any], server: Server, api: StandIn) -> None:
    """Nothing that they send by default is ignored or refused."""
    wanted = case.get("object")
    if wanted is not None:
        api.responder = lambda request: Reply.of(ToolUse(request.tools[-1], wanted))
    answer = httpx.post(f"{server.base_url}/chat/completions", json=case["body"], timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    assert "x-ignored-params" not in answer.headers
    (sent,) = api.turns
    assert [list(said) for said in sent.conversation] == case["says"]
    assert len(blocks(sent, "image")) == case.get("images", 0)
    if wanted is None:
        assert sent.tools == case["tools"]
        calls, results = blocks(sent, "tool_use"), blocks(sent, "tool_result")
        assert [call["id"] for call in calls] == [result["tool_use_id"] for result in results]
        assert len(results) == case.get("results", 0)
    else:
        assert json.loads(answer.json()["choices"][0]["message"]["content"]) == wanted


def test_where_they_come_from() -> None:
    assert {fixture["client"] for fixture in FIXTURES} == {"LibreChat", "LobeChat"}
    assert all(fixture["derived"] for fixture in FIXTURES)
