"""Function calling through the real CLI: what reaches the stand-in, and what the client gets."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiRequest, Reply, StandIn, ToolUse
from tests.support import PATIENCE, Server, clean_environment, serving

LEVELS = ("warm", "keyed", "spawn", "text")


def function(name: str, *required: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {
        "type": "function",
        "function": {"name": name, "description": f"does {name}", "parameters": schema},
    }


# Named like the CLI's own, and like none.
BASH = function("Bash", "command", command={"type": "string"})
WEATHER = function("get_weather", "city", city={"type": "string", "description": "a city"})
TOOLS = [BASH, WEATHER]


def post(server: Server, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "sonnet", "messages": [{"role": "user", "content": text}], **more}


def streamed(server: Server, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end as it should."""
    answer = post(server, {**body, "stream": True})
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", answer.text
    return [json.loads(line) for line in lines[:-1]]


def reached(request: ApiRequest) -> list[tuple[str, dict[str, Any]]]:
    """Names and schemas of the tools that reached the API."""
    return [(tool["name"], tool["input_schema"]) for tool in request.body.get("tools") or ()]


def offered(*tools: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(t["function"]["name"], t["function"]["parameters"]) for t in tools]


def exchange(request: ApiRequest) -> list[list[dict[str, Any]]]:
    """The blocks of the last assistant's message that reached the API, and of the user's after it. Newer CLIs
    put messages of their own between them."""
    said = [m for m in request.body["messages"] if m["role"] != "system"]
    last = max(index for index, message in enumerate(said) if message["role"] == "assistant")
    return [message["content"] for message in said[last : last + 2]]


@pytest.mark.parametrize("level", LEVELS)
def test_a_call_and_its_result(level: str, claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """The tools reach the API under their own names, the calls come back, and the results reach the API as
    results of those calls: one API request for each HTTP request, at every level."""
    chosen = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_ENGINE": level}
    with serving(tmp_path / "home", clean_environment(tmp_path / "home", api.url, **chosen)) as server:
        for number in range(2):
            api.reset()
            api.push(
                Reply.of(
                    "I look.",
                    ToolUse("get_weather", {"city": "Oslo"}),
                    ToolUse("Bash", {"command": "/ls @x"}),
                )
            )
            first = post(server, ask(f"Weather {number}?", tools=TOOLS)).json()
            choice = first["choices"][0]
            assert choice["finish_reason"] == "tool_calls"
            assert choice["message"]["content"] == "I look."
            calls = choice["message"]["tool_calls"]
            assert [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == [
                ("get_weather", {"city": "Oslo"}),
                ("Bash", {"command": "/ls @x"}),
            ]
            assert first["x_claude"]["engine"] == level and first["x_claude"]["cost_usd"] > 0
            assert len(api.turns) == 1 and reached(api.last) == offered(*TOOLS)

            results = [
                {"role": "tool", "tool_call_id": c["id"], "content": f"/result {c['function']['name']}"}
                for c in calls
            ]
            body = ask(f"Weather {number}?", tools=TOOLS)
            body["messages"] += [choice["message"], *results]
            second = post(server, body).json()
            assert second["choices"][0]["finish_reason"] == "stop"
            assert len(api.turns) == 2
            if level == "text":
                assert "result of call" in api.last.last_user_text
                continue
            said, given = exchange(api.last)
            assert [b["type"] for b in said] == ["text", "tool_use", "tool_use"]
            assert [(b["id"], b["name"], b["input"]) for b in said[1:]] == [
                (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls
            ]
            told = [(b["tool_use_id"], b["content"]) for b in given if b["type"] == "tool_result"]
            wanted = [{"type": "text", "text": f"/result {name}"} for name in ("get_weather", "Bash")]
            assert told == [(c["id"], [text]) for c, text in zip(calls, wanted, strict=True)]


def test_calls_are_streamed_while_the_model_writes_them(server: Server, api: StandIn) -> None:
    api.push(Reply.of("So", ToolUse("get_weather", {"city": "Oslo"}), ToolUse("Bash", {}), chunk_chars=5))
    chunks = streamed(server, ask("go", tools=TOOLS))
    deltas = [
        c["choices"][0]["delta"]["tool_calls"][0] for c in chunks if "tool_calls" in c["choices"][0]["delta"]
    ]
    heads = [d for d in deltas if "id" in d]
    assert [(d["index"], d["type"], d["function"]) for d in heads] == [
        (0, "function", {"name": "get_weather", "arguments": ""}),
        (1, "function", {"name": "Bash", "arguments": ""}),
    ]
    pieces = ["".join(d["function"]["arguments"] for d in deltas if d["index"] == i) for i in (0, 1)]
    assert [json.loads(piece) for piece in pieces] == [{"city": "Oslo"}, {}]
    assert len([d for d in deltas if d["index"] == 0]) > 2
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert len(api.turns) == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "Bash"}}},
            {"type": "tool", "name": "Bash"},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_reaches_the_api(
    server: Server, api: StandIn, fields: dict[str, Any], told: dict[str, Any] | None
) -> None:
    assert post(server, ask("go", tools=TOOLS, **fields)).status_code == 200
    assert api.last.body.get("tool_choice") == told
    assert reached(api.last) == offered(*TOOLS)
    # The API takes no thinking with a call that is forced.
    forced = told is not None and told["type"] in ("any", "tool")
    assert ("thinking" in api.last.body) is not forced


def test_allowed_tools_are_those_that_reach_the_api(server: Server, api: StandIn) -> None:
    named = {"mode": "required", "tools": [{"type": "function", "function": {"name": "Bash"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": named}
    assert post(server, ask("go", tools=TOOLS, tool_choice=choice)).status_code == 200
    assert reached(api.last) == offered(BASH) and api.last.body["tool_choice"] == {"type": "any"}


def test_functions_in_their_older_form(server: Server, api: StandIn) -> None:
    functions = [tool["function"] for tool in TOOLS]
    body = ask("go", functions=functions, function_call={"name": "Bash"})
    api.push(Reply.of(ToolUse("Bash", {"command": "ls"})))
    choice = post(server, body).json()["choices"][0]
    assert choice["finish_reason"] == "function_call" and "tool_calls" not in choice["message"]
    call = choice["message"]["function_call"]
    assert (call["name"], json.loads(call["arguments"])) == ("Bash", {"command": "ls"})
    body["messages"] += [choice["message"], {"role": "function", "name": "Bash", "content": "a.txt"}]
    assert post(server, body).status_code == 200
    said, given = exchange(api.last)
    assert given[0]["tool_use_id"] == said[0]["id"]


def test_a_worker_forgets_the_tools_of_the_request_before(server: Server, api: StandIn) -> None:
    """Also where a tool keeps its name and schema and is described anew."""
    other = json.loads(json.dumps(WEATHER))
    other["function"]["description"] = "something else"
    for tools in (
        [WEATHER],
        [BASH],
        [],
        [other],
        [WEATHER],
        [function("get_weather", x={"type": "number"})],
        [],
    ):
        assert post(server, ask("go", **({"tools": tools} if tools else {}))).status_code == 200
        assert reached(api.last) == offered(*tools)
        told = [tool.get("description") for tool in api.last.body.get("tools") or ()]
        assert told == [tool["function"]["description"] for tool in tools]


def test_calls_in_a_session(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """Only the results are sent; the session has the calls."""
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(each_cli))
    body = ask("Weather?", tools=TOOLS, session_id=str(uuid.uuid4()))
    with serving(tmp_path / "home", environment) as server:
        post(server, {**body, "messages": [{"role": "user", "content": "Hello"}]})
        for city in ("Oslo", "Rome"):
            api.push(Reply.of(ToolUse("get_weather", {"city": city})))
            call = post(server, body).json()["choices"][0]["message"]["tool_calls"][0]
            result = {"role": "tool", "tool_call_id": call["id"], "content": f"rain in {city}"}
            answer = post(server, {**body, "messages": [result]})
            assert answer.status_code == 200 and answer.headers["x-claude-session"] == "resumed"
            said, given = exchange(api.last)
            assert said[0]["id"] == given[0]["tool_use_id"] == call["id"]
            assert given[0]["content"] == [{"type": "text", "text": f"rain in {city}"}]
        assert len(api.turns) == 5


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"tools": [function("a b")]}, "tools[0].function.name", "a b"),
        ({"tools": [BASH, BASH]}, "tools[1].function.name", "two tools"),
        ({"tools": [function("x", p={"type": "strin"})]}, "tools[0].function.parameters", "'x'"),
        (
            {"tools": [function("x", p={"$ref": "http://127.0.0.1:9/x"})]},
            "tools[0].function.parameters",
            "'x'",
        ),
        ({"tool_choice": "required"}, "tool_choice", "no 'tools'"),
        (
            {"tools": [BASH], "tool_choice": {"type": "function", "function": {"name": "no"}}},
            "tool_choice",
            "no",
        ),
    ],
)
def test_broken_tools_are_refused_by_name(
    server: Server, api: StandIn, fields: dict[str, Any], param: str, says: str
) -> None:
    answer = post(server, ask("go", **fields))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param and says in answer.json()["error"]["message"]
    assert api.turns == []
