"""What the clients are made to do with tools and with the form of an answer, and what must be seen of it."""

from __future__ import annotations

import json
from typing import Any

from claude_server.standin import ApiRequest, Reply, StandIn, ToolUse

WEATHER = "What is the weather in Lisbon?"
CALL = ["get_weather", {"city": "Lisbon"}]
RESULT = "21 degrees in Lisbon"
ANSWER = "It is 21 degrees."
# One black pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
LISBON = {"name": "Lisbon", "country": "Portugal", "twins": ["Madrid", "Rio de Janeiro"]}


def blocks(request: ApiRequest, kind: str) -> list[dict[str, Any]]:
    """The blocks of a kind in the whole conversation that reached the API."""
    contents = [m["content"] for m in request.messages if isinstance(m["content"], list)]
    return [block for content in contents for block in content if block["type"] == kind]


def play_weather(api: StandIn) -> None:
    """The model looks for the weather first, then says it."""
    api.push(Reply.of("I look.", ToolUse("get_weather", {"city": "Lisbon"}), chunk_chars=5), ANSWER)


def check_weather(api: StandIn) -> None:
    """Two requests: the tool under its own name, then the result as that of the call."""
    first, second = api.turns
    assert first.tools == second.tools == ["get_weather"]
    (tool,) = first.body["tools"]
    assert tool["input_schema"]["properties"]["city"]["type"] == "string"
    assert "weather in a city" in tool["description"]
    (use,), (result,) = blocks(second, "tool_use"), blocks(second, "tool_result")
    assert [use["name"], use["input"]] == CALL
    assert result["tool_use_id"] == use["id"] and RESULT in str(result["content"])
    assert [text for _, text in second.conversation] == [WEATHER, "I look."]


def play_lisbon(api: StandIn) -> None:
    """The model gives what it must: as the arguments of the tool that it has to call, or as text."""

    def answer(request: ApiRequest) -> Reply:
        if (request.body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            return Reply.of(ToolUse(request.tools[-1], LISBON), chunk_chars=9)
        return Reply.of(f"```json\n{json.dumps(LISBON)}\n```", chunk_chars=9)

    api.responder = answer
