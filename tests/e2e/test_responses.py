"""The Responses API through the real CLI: what reaches the stand-in, and what the client gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI
from pydantic import BaseModel

from claude_server.standin import ApiError, Reply, StandIn, StreamError, Thinking, ToolUse
from tests.e2e.test_tools import exchange
from tests.support import PATIENCE, Server

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "the weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(server: Server) -> OpenAI:
    return server.client()


def post(server: Server, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.base_url}/responses", json={"model": "sonnet", **body}, timeout=PATIENCE)


def test_create(client: OpenAI, api: StandIn) -> None:
    api.push(Reply.of(Thinking("Let me see."), "It is 4."))
    answer = client.responses.create(
        model="sonnet", instructions="Count.", input="2 + 2?", max_output_tokens=99
    )
    assert (answer.status, answer.output_text) == ("completed", "It is 4.")
    thought, message = answer.output
    assert thought.type == "reasoning" and thought.summary[0].text == "Let me see."
    assert (str(message.id)[:4], thought.id[:3], answer.id[:5]) == ("msg_", "rs_", "resp_")
    assert answer.usage is not None and answer.usage.total_tokens > answer.usage.output_tokens > 0
    assert api.last.body["max_tokens"] == 99 and "Count." in str(api.last.body["system"])
    assert api.last.conversation == [("user", "2 + 2?")]


def test_stream(client: OpenAI, api: StandIn) -> None:
    api.push(Reply.of(Thinking("Let me see."), "It is 4.", chunk_chars=3))
    with client.responses.stream(model="sonnet", input="2 + 2?") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "It is 4."
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") > 1


def test_tools(client: OpenAI, api: StandIn) -> None:
    """Both calls in one answer, then their results, by their ids: a loop of two requests."""
    oslo, rome = ({"city": "Oslo"}, {"city": "Rome"})
    api.push(
        Reply.of("I look.", ToolUse("get_weather", oslo), ToolUse("get_weather", rome)), "Cold and warm."
    )
    items: list[Any] = [{"role": "user", "content": "The weather?"}]
    first = client.responses.create(model="sonnet", input=items, tools=[WEATHER])  # type: ignore[list-item]
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [oslo, rome]
    assert all(call.id is not None and call.id != call.call_id for call in calls)
    items += first.output
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    outputs: list[Any] = ["-3", [{"type": "input_text", "text": "30"}, picture]]
    for call, output in zip(calls, outputs, strict=True):
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
    second = client.responses.create(model="sonnet", input=items, tools=[WEATHER])  # type: ignore[list-item]
    assert second.output_text == "Cold and warm."
    said, given = exchange(api.last)
    assert [block["type"] for block in said] == ["text", "tool_use", "tool_use"]
    assert [block["id"] for block in said[1:]] == [call.call_id for call in calls]
    results = [block["content"] for block in given if block["type"] == "tool_result"]
    assert [[part["type"] for part in result] for result in results] == [["text"], ["text", "image"]]


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


class City(BaseModel):
    name: str
    country: str


def test_parse(client: OpenAI, api: StandIn) -> None:
    api.responder = lambda request: Reply.of(
        ToolUse(request.tools[-1], {"name": "Oslo", "country": "Norway"})
    )
    made = client.responses.parse(model="sonnet", input="A city?", text_format=City)
    assert made.output_parsed == City(name="Oslo", country="Norway")
    with client.responses.stream(model="sonnet", input="A city?", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == made.output_parsed


EXEC = {"type": "custom", "name": "exec", "description": "Run JavaScript."}
PATCH = {
    **{"type": "custom", "name": "apply_patch", "description": "Patch files."},
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}
CRM = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers.",
    "tools": [{**WEATHER, "name": "find"}, EXEC],
}


def test_custom_tools_and_namespaces(server: Server, api: StandIn) -> None:
    """A text as the model's argument, and names that are unique for it; answered in the client's words, and
    told to the model in its own when they come back. OpenAI's own tools are left out."""
    text = 'a "quoted" line\n*** End'
    api.push(
        Reply.of(
            ToolUse("apply_patch", {"input": text}),
            ToolUse("crm__find", {"city": "Oslo"}),
            ToolUse("crm__exec", {"input": "1 + 1"}),
        ),
        "Done.",
    )
    tools = [PATCH, CRM, {"type": "web_search"}, {"type": "tool_search", "execution": "client"}]
    answer = post(server, input="go", tools=tools)
    assert answer.headers["x-ignored-params"] == "tools.web_search, tools.tool_search"
    calls = answer.json()["output"]
    assert [{k: v for k, v in call.items() if k not in ("id", "call_id", "status")} for call in calls] == [
        {"type": "custom_tool_call", "name": "apply_patch", "input": text},
        {"type": "function_call", "name": "find", "namespace": "crm", "arguments": '{"city":"Oslo"}'},
        {"type": "custom_tool_call", "name": "exec", "namespace": "crm", "input": "1 + 1"},
    ]
    offered = {tool["name"]: tool for tool in api.last.body["tools"]}
    assert list(offered) == ["apply_patch", "crm__find", "crm__exec"]
    assert "start: /.+/" in offered["apply_patch"]["description"]
    outputs = [
        {"type": call["type"] + "_output", "call_id": call["call_id"], "output": call["name"]}
        for call in calls
    ]
    history = [{"role": "user", "content": "go"}, *calls, *outputs]
    assert post(server, input=history, tools=tools).json()["output"][0]["content"][0]["text"] == "Done."
    said, given = exchange(api.last)
    assert [(block["name"], block["input"]) for block in said] == [
        ("apply_patch", {"input": text}),
        ("crm__find", {"city": "Oslo"}),
        ("crm__exec", {"input": "1 + 1"}),
    ]
    assert [b["content"][0]["text"] for b in given if b["type"] == "tool_result"] == [
        *("apply_patch", "find", "exec")
    ]


def test_tool_choice(server: Server, api: StandIn) -> None:
    """All forms reach the API as its own; one of OpenAI's own tools can't be forced."""
    tools = [WEATHER, PATCH, CRM]
    names = ["get_weather", "apply_patch", "crm__find", "crm__exec"]
    allowed = {"type": "allowed_tools", "mode": "required"}
    for choice, wanted, offered in (
        ("auto", None, names),
        ("none", {"type": "none"}, names),
        ("required", {"type": "any"}, names),
        ({"type": "function", "name": "get_weather"}, {"type": "tool", "name": "get_weather"}, names),
        ({"type": "custom", "name": "apply_patch"}, {"type": "tool", "name": "apply_patch"}, names),
        (
            {"type": "custom", "name": "exec"},
            {"type": "tool", "name": "crm__exec"},
            names,
        ),
        ({**allowed, "tools": [{"type": "function", "name": "get_weather"}]}, {"type": "any"}, names[:1]),
    ):
        api.reset()
        api.responder = lambda request: Reply.of("ok")
        answer = post(server, input="go", tools=tools, tool_choice=choice)
        assert answer.status_code == 200, answer.text
        found = api.last.body.get("tool_choice")
        assert (found or {"type": "auto"}).items() >= (wanted or {"type": "auto"}).items(), choice
        if choice != "none":
            assert [tool["name"] for tool in api.last.body["tools"]] == offered
        assert answer.json()["tool_choice"] == choice
    refused = post(server, input="go", tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tool_choice")


def events(server: Server, **body: Any) -> Iterator[dict[str, Any]]:
    answer = post(server, stream=True, **body)
    assert answer.status_code == 200, answer.text
    for block in answer.text.split("\n\n"):
        data = block.partition("data: ")[2]
        if data and data != "[DONE]":
            yield json.loads(data)


@pytest.mark.parametrize("stream", [False, True])
def test_ends(server: Server, api: StandIn, stream: bool) -> None:
    """What an answer is that is cut, refused, or of a custom call; and a history with items that aren't
    known."""

    def answered(**body: Any) -> dict[str, Any]:
        if not stream:
            whole: dict[str, Any] = post(server, **body).json()
            return whole
        last: dict[str, Any] = [*events(server, **body)][-1]
        assert last["type"] == f"response.{last['response']['status']}"
        return dict(last["response"])

    api.push(Reply.of("one two three four", max_tokens=2, chunk_chars=4))
    cut = answered(input="count")
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert cut["output"][-1]["status"] == "incomplete"

    api.push(Reply.of(stop_reason="refusal"))
    refused = answered(input="no")
    assert refused["status"] == "completed"
    assert refused["output"][-1]["content"] == [
        {"type": "refusal", "refusal": "The model refused to answer."}
    ]

    api.push(Reply.of(ToolUse("apply_patch", {"input": "text"}), chunk_chars=3))
    (call,) = answered(input="patch", tools=[PATCH])["output"]
    assert (call["type"], call["input"]) == ("custom_tool_call", "text")

    strange = [
        {"type": "message", "role": "developer", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}, "content": 7},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": None},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
        {"type": "message", "role": "developer", "content": "Be long."},
        {"role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ]
    known = answered(input=strange, instructions="First.")
    assert known["status"] == "completed" and len(known["x_claude"]["notices"]) == 3
    assert "First.\n\nBe brief." in str([block["text"] for block in api.last.body["system"]][-1])
    told = [text for _, text in api.last.conversation]
    assert told[1] == "Hello." and "local_shell_call" in told[0] and "Be long." in told[2]


def test_input_tokens(client: OpenAI, api: StandIn) -> None:
    """As the API counts them, what is kept included."""
    first = client.responses.create(model="sonnet", input="one " * 100)
    alone = client.responses.input_tokens.count(model="sonnet", input="two")
    after = client.responses.input_tokens.count(model="sonnet", input="two", previous_response_id=first.id)
    assert alone.object == "response.input_tokens" and after.input_tokens > alone.input_tokens + 50


def test_a_websocket_is_refused_so_that_http_is_used(server: Server) -> None:
    """Codex asks once, and goes on by POST."""
    wanted = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    refused = httpx.get(f"{server.base_url}/responses", headers={**wanted, "sec-websocket-key": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (426, "not_found")
    plain = httpx.get(f"{server.base_url}/responses")
    assert plain.status_code == 405 and "takes POST" in plain.json()["error"]["message"]


def test_failures(server: Server, api: StandIn) -> None:
    """Before the answer an HTTP error; after its beginning a terminal event with a code that clients know."""
    assert post(server).json()["error"] == {
        **{
            "message": "'input' is missing: send a text, or a list of items.",
            "type": "invalid_request_error",
        },
        **{"param": "input", "code": "invalid_request_error"},
    }
    for body, param in (
        ({"input": "x", "top_logprobs": 3}, "top_logprobs"),
        ({"input": "x", "prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": "x", "include": ["message.output_text.logprobs"]}, "include"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "a"}]}, "input[0].call_id"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
    ):
        refused = post(server, **body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text
    api.push(*[ApiError(529)] * 3)
    assert post(server, input="x", stream=True).status_code == 503
    api.push(StreamError(Reply.of("half an answer", chunk_chars=3)))
    last = [*events(server, input="x")][-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"


def test_thinking_comes_back(client: OpenAI, api: StandIn) -> None:
    """Signed and opaque, in front of its call: as it was when the model thought it."""
    api.push(Reply.of(Thinking("A city is needed."), ToolUse("get_weather", {"city": "Oslo"})), "Cold.")
    asked: dict[str, Any] = {
        **{"model": "sonnet", "tools": [WEATHER], "store": False},
        "include": ["reasoning.encrypted_content"],
    }
    items: list[Any] = [{"role": "user", "content": "The weather?"}]
    first = client.responses.create(input=items, **asked)
    thought, call = first.output
    assert thought.type == "reasoning" and thought.encrypted_content and call.type == "function_call"
    items += [*first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "-3"}]
    assert client.responses.create(input=items, **asked).output_text == "Cold."
    said, _ = exchange(api.last)
    assert [block["type"] for block in said] == ["thinking", "tool_use"]
    assert said[0]["thinking"] == "A city is needed." and said[0]["signature"]
    # What isn't ours is left out, in front of a call that this server has not seen.
    items[1] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Zm9yZWlnbg=="}
    items[2] = {**items[2].model_dump(exclude_none=True), "call_id": "call_elsewhere"}
    items[3] = {**items[3], "call_id": "call_elsewhere"}
    assert client.responses.create(input=items, **asked).status == "completed"
    assert [block["type"] for block in exchange(api.last)[0]] == ["tool_use"]
