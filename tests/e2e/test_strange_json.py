"""JSON that programs disagree about, on its way to the real CLI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import StandIn
from tests.support import PATIENCE, Server, clean_environment, serving

# What one program takes for a pattern is none to another; the last takes 100 MB to compile.
PATTERNS = (r"^[\w-.]+@[\w-.]+$", "[^]", "(", r"(?<year>\d{4})\k<year>", r"\p{L}{250}")


def post(server: Server, messages: list[dict[str, Any]], **more: Any) -> httpx.Response:
    url = f"{server.base_url}/chat/completions"
    return httpx.post(url, json={"messages": messages, **more}, timeout=PATIENCE)


def tool(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": "does f", "parameters": schema}}


def test_tools_reach_the_api_whatever_their_patterns_are(
    each_cli: Path, api: StandIn, tmp_path: Path
) -> None:
    schema = {
        "type": "object",
        "properties": {f"p{n}": {"type": "string", "pattern": p} for n, p in enumerate(PATTERNS)},
    }
    with serving(tmp_path, clean_environment(tmp_path, api.url, CLAUDE_BIN=str(each_cli))) as server:
        answer = post(server, [{"role": "user", "content": "hi"}], tools=[tool(schema)])
    assert answer.status_code == 200, answer.text
    (reached,) = api.turns[-1].body["tools"]
    assert reached["input_schema"]["properties"] == schema["properties"]


@pytest.mark.parametrize(
    "arguments",
    ['{"a": NaN}', '{"a": [Infinity]}', '{"a": -1e999}', "[" * 100_000, '{"a":' * 1000 + "1" + "}" * 1000],
    ids=["NaN", "Infinity", "1e999", "brackets", "deep"],
)
def test_arguments_that_others_cannot_read_go_as_text(server: Server, api: StandIn, arguments: str) -> None:
    """Written as they are, they would end the process, and each retry another one."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]
    answer = post(server, messages, tools=[tool({"type": "object", "properties": {}})])
    assert answer.status_code == 200, answer.text
    assert answer.json()["x_claude"]["retries"] == 0
    (turn,) = api.turns
    uses = [b for m in turn.messages for b in m["content"] if isinstance(b, dict) and b["type"] == "tool_use"]
    assert [use["input"] for use in uses] == [{"arguments": arguments}]
