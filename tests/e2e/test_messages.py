"""The Messages API through the real CLI: what reaches the stand-in, and what the client gets."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from claude_server.standin import (
    ApiError,
    RedactedThinking,
    Reply,
    StandIn,
    StreamError,
    Text,
    Thinking,
    ToolUse,
)
from tests.support import PATIENCE, Server

WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "the weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
COUNT = "/v1/messages/count_tokens"
VERSION = {"anthropic-version": "2023-06-01"}


def post(server: Server, path: str = "/v1/messages", **body: Any) -> httpx.Response:
    asked = {"model": "sonnet", "max_tokens": 4000, **body}
    return httpx.post(f"{server.url}{path}", json=asked, headers=VERSION, timeout=PATIENCE)


def ask(server: Server, *messages: Any, **body: Any) -> dict[str, Any]:
    """The answer to a conversation of texts or contents, the user's first; a 200."""
    roles = ("user", "assistant")
    said = [{"role": roles[number % 2], "content": content} for number, content in enumerate(messages)]
    answer = post(server, messages=said, **body)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The data of each event; the tap has seen to it that they are in order."""
    assert answer.status_code == 200, answer.text
    lines = answer.text.split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def sent(api: StandIn) -> list[tuple[str, Any]]:
    """The messages as they reached the API, without the CLI's marks and its own words."""
    return [
        (message["role"], [_unmarked(block) for block in _list(message["content"])])
        for message in api.last.messages
        if message["role"] != "system"
    ]


def _list(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _unmarked(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "cache_control"}


def test_an_answer(server: Server, api: StandIn) -> None:
    api.push(Reply.of(Thinking("Let me see."), "It is 4."))
    answer = ask(server, "2 + 2?", system="Count.", stop_sequences=["END"], metadata={"user_id": "u"})
    assert answer["content"] == [{"type": "text", "text": "It is 4."}]
    assert (answer["stop_reason"], answer["model"]) == ("end_turn", api.last.model)
    usage = answer["usage"]
    assert usage["output_tokens"] > 0
    assert sum(usage.values()) - usage["output_tokens"] == sum(
        getattr(api.last.usage, name)
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
    assert api.last.system_texts[-1] == "Count." and api.last.conversation == [("user", "2 + 2?")]
    assert (api.last.body["max_tokens"], api.last.body["stop_sequences"]) == (4000, ["END"])


def test_thinking_goes_out_where_asked_for_and_comes_back_unchanged(server: Server, api: StandIn) -> None:
    call = ToolUse("get_weather", {"city": "Oslo"})
    api.push(Reply.of(Thinking("Let me see."), RedactedThinking(), Text("I look."), call), "It is cold.")
    more = {"thinking": {"type": "adaptive"}, "tools": [WEATHER]}
    first = ask(server, "Oslo?", **more)
    kinds = [block["type"] for block in first["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert first["stop_reason"] == "tool_use" and first["content"][0]["signature"]
    result = {
        "type": "tool_result",
        "tool_use_id": first["content"][3]["id"],
        "content": "-3",
        "is_error": True,
    }
    ask(server, "Oslo?", first["content"], [result], **more)
    (_, asked), (_, said), (_, results) = sent(api)
    assert said == first["content"]
    assert results[0]["is_error"] and "-3" in str(results[0]["content"])
    assert asked == [{"type": "text", "text": "Oslo?"}]


def test_a_stream(server: Server, api: StandIn) -> None:
    call = ToolUse("get_weather", {"city": "Oslo"})
    api.push(Reply.of(Thinking("Let me see."), Text("I look."), call, chunk_chars=3))
    answer = post(
        server,
        "/v1/v1/messages?beta=true",
        messages=[{"role": "user", "content": "Oslo?"}],
        tools=[{**WEATHER, "eager_input_streaming": True}],
        stream=True,
    )
    found = events(answer)
    texts = [event["delta"].get("text", "") for event in found if event["type"] == "content_block_delta"]
    assert "".join(texts) == "I look."
    pieces = [event["delta"].get("partial_json", "") for event in found if "delta" in event]
    assert json.loads("".join(pieces)) == {"city": "Oslo"}
    last = found[-2]
    assert last["delta"]["stop_reason"] == "tool_use" and last["usage"] != found[0]["message"]["usage"]
    assert (
        last["usage"]["cache_creation_input_tokens"]
        == found[0]["message"]["usage"]["cache_creation_input_tokens"]
    )
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


def test_sources_reach_the_api_as_they_are(server: Server, api: StandIn) -> None:
    sources = [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
            "title": "T",
            "context": "C",
            "citations": {"enabled": True},
        },
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
        {
            "type": "search_result",
            "source": "https://example.com",
            "title": "R",
            "content": [{"type": "text", "text": "found"}],
            "citations": {"enabled": True},
        },
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]
    question = {"type": "text", "text": "What colour?"}
    ask(server, [*sources, question])
    assert sent(api) == [("user", [*sources, question])]
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": sources[2:3]}
    ask(server, "Where?", [call], [result], tools=[WEATHER])
    assert sent(api)[1:] == [("assistant", [call]), ("user", [result])]


@pytest.mark.parametrize("blank", [False, True])
def test_the_stop_text_that_was_found_is_told(server: Server, api: StandIn, blank: bool) -> None:
    stop = "\n\n" if blank else "END"
    text = f"one{stop}two" if blank else "one"
    reply = Reply.of(text) if blank else Reply.of("one", stop_reason="stop_sequence", stop_sequence="END")
    api.push(reply)
    answer = ask(server, "Count.", stop_sequences=[stop])
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", stop)
    assert answer["content"] == [{"type": "text", "text": "one"}]


def test_forms_of_thinking_reach_the_api(server: Server, api: StandIn) -> None:
    ask(server, "hi", thinking={"type": "enabled", "budget_tokens": 2000}, model="claude-sonnet-4-5")
    assert api.last.body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    ask(server, "hi", thinking={"type": "adaptive", "display": "omitted"})
    assert api.last.body["thinking"] == {"type": "adaptive", "display": "omitted"}
    ask(server, "hi", thinking={"type": "disabled"})
    assert (api.last.body.get("thinking") or {"type": "disabled"})["type"] == "disabled"
    # Of a turn before there is nothing left.
    ask(server, "hi")
    assert "display" not in api.last.body["thinking"]


def test_an_answer_in_a_form(server: Server, api: StandIn) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "schema": schema}
    api.push(Reply.of(ToolUse("json_answer", {"n": 4})))
    answer = ask(server, "2 + 2?", output_config={"format": form, "effort": "low"})
    (block,) = answer["content"]
    assert (block["type"], json.loads(block["text"]), answer["stop_reason"]) == ("text", {"n": 4}, "end_turn")


def test_tools_that_the_client_runs(server: Server, api: StandIn) -> None:
    bash = {"type": "bash_20250124", "name": "bash"}
    api.push(Reply.of(ToolUse("bash", {"command": "ls"})))
    answer = ask(server, "List.", tools=[bash], tool_choice={"type": "any"})
    assert answer["content"][0]["name"] == "bash"
    assert api.last.tools == ["bash"] and api.last.body["tool_choice"] == {"type": "any"}
    assert any("bash_20250124" in notice for notice in answer["x_claude"]["notices"])


def test_errors(server: Server, api: StandIn) -> None:
    hi = [{"role": "user", "content": "hi"}]
    for given, status, kind in (
        (ApiError(529), 529, "overloaded_error"),
        (ApiError(429), 429, "rate_limit_error"),
        (
            ApiError.bad_request("prompt is too long: 300000 tokens > 200000 maximum"),
            400,
            "invalid_request_error",
        ),
    ):
        api.push(*[given] * 10)
        answer = post(server, messages=hi)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        assert answer.json()["request_id"] == answer.headers["request-id"]
        if status == 400:
            assert answer.json()["error"]["message"].startswith("prompt is too long")
        api.reset()
    api.push(*[StreamError()] * 5)
    assert events(post(server, messages=hi, stream=True))[-1]["type"] == "error"
    unknown = httpx.get(f"{server.url}/v1/messages/batches", headers=VERSION)
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    foreign = httpx.post(f"{server.url}/v1/messages", headers={"origin": "http://evil.example"})
    assert (foreign.status_code, foreign.json()["error"]["type"]) == (403, "permission_error")


def test_counts(server: Server, api: StandIn) -> None:
    said = "word " * 1000
    more = {"tools": [WEATHER], "system": "Be kind."}
    asked = [{"role": "user", "content": said}]
    answer = post(server, COUNT, messages=asked, **more)
    assert answer.status_code == 200 and "x-claude-token-count" not in answer.headers
    count = answer.json()["input_tokens"]
    assert 1250 < count < 1250 + 500 and api.turns == []
    usage = ask(server, said, **more)["usage"]
    assert abs(count - sum(usage.values()) + usage["output_tokens"]) < 500
    assert post(server, COUNT, messages=[]).status_code == 400
    unknown = post(server, COUNT, messages=asked, model="--no")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")


def test_models(server: Server) -> None:
    page = httpx.get(f"{server.url}/v1/models", headers=VERSION).json()
    ids = [model["id"] for model in page["data"]]
    assert len(ids) == len(set(ids)) and "default" not in ids and "sonnet" not in ids
    one = httpx.get(f"{server.url}/v1/models/sonnet", headers=VERSION).json()
    assert one["id"] in ids and one["id"].startswith("claude-sonnet-")
    assert httpx.get(f"{server.url}/v1/models").json()["object"] == "list"
    missing = httpx.get(f"{server.url}/v1/models/none", headers=VERSION)
    assert (missing.status_code, missing.json()["type"]) == (404, "error")


def test_the_same_shapes_in_a_chat(server: Server, api: StandIn) -> None:
    """As agents send them wherever the model's name has "claude" in it."""
    api.push(Reply.of(Thinking("Hm."), "I look.", ToolUse("get_weather", {"city": "Oslo"})), "It is cold.")
    url = f"{server.url}/v1/chat/completions"
    asked: list[dict[str, Any]] = [{"role": "user", "content": "Oslo?"}]
    body = {"model": "sonnet", "messages": asked, "tools": [WEATHER], "tool_choice": {"type": "auto"}}
    (choice,) = httpx.post(url, json=body, timeout=PATIENCE).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    use = {"type": "tool_use", "id": call["id"], "name": "get_weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "-3"}]}
    asked += [
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use]},
        {"role": "user", "content": [result]},
    ]
    answer = httpx.post(url, json=body, timeout=PATIENCE).json()
    assert answer["choices"][0]["message"]["content"] == "It is cold."
    assert api.last.tools == ["get_weather"] and len(api.turns) == 2
    assert sent(api)[-1] == ("user", [result])
