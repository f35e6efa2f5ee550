"""The real CLI can't tell the stand-in from the API: each answer means to it what the API's would."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from claude_server.standin import (
    Answer,
    ApiError,
    Cut,
    RedactedThinking,
    Reply,
    Silence,
    StandIn,
    StreamError,
    Text,
    Thinking,
    ToolUse,
    unified_limit_headers,
)
from claude_server.standin.signatures import data_is_ours, sign

Start = Callable[..., Any]
Events = list[dict[str, Any]]


def deltas(events: Events, kind: str) -> list[str]:
    """The contents of all deltas of a kind: text, thinking, partial_json or signature."""
    stream = [e["event"] for e in events if e["type"] == "stream_event"]
    found = [e["delta"] for e in stream if e["type"] == "content_block_delta"]
    return [d[kind] for d in found if kind in d]


async def test_a_plain_answer(api: StandIn, start_cli: Start) -> None:
    api.push(Reply.of("Two times two is four.", chunk_chars=8))
    cli = await start_cli()
    events = await cli.turn("What is two times two?")
    result = events[-1]
    assert (result["subtype"], result["is_error"]) == ("success", False)
    assert result["result"] == "Two times two is four."
    assert result["stop_reason"] == "end_turn"
    assert "".join(deltas(events, "text")) == "Two times two is four."
    assert await cli.close() == 0
    assert [r.path for r in api.turns] == ["/v1/messages"]
    assert api.last.conversation == [("user", "What is two times two?")]
    assert api.last.last_user_text == "What is two times two?"
    assert api.last.system_texts[-1] == "Be brief."
    assert api.last.tools == []
    assert api.last.stream
    assert api.last.outcome == "complete"
    assert api.last.headers["x-api-key"] == "***"


async def test_the_default_answer_names_the_question(start_cli: Start) -> None:
    cli = await start_cli()
    assert (await cli.turn("hello"))[-1]["result"] == "You said: hello"


async def test_thinking(api: StandIn, start_cli: Start) -> None:
    api.push(Reply.of(Thinking("Let me see."), RedactedThinking(), "Done."), "Again.")
    cli = await start_cli()
    events = await cli.turn("Think.")
    assert events[-1]["result"] == "Done."
    assert "".join(deltas(events, "thinking")) == "Let me see."
    assert deltas(events, "signature") == [sign("Let me see.")]
    # It comes back as it was given, or the stand-in would refuse it.
    assert (await cli.turn("And now?"))[-1]["result"] == "Again."
    thought, redacted, _ = next(m["content"] for m in api.last.messages if m["role"] == "assistant")
    assert (thought["thinking"], thought["signature"]) == ("Let me see.", sign("Let me see."))
    assert data_is_ours(redacted["data"])


async def test_two_turns_in_one_process_hit_the_cache(api: StandIn, start_cli: Start) -> None:
    cli = await start_cli()
    first = (await cli.turn("first question"))[-1]["usage"]
    second = (await cli.turn("second question"))[-1]["usage"]
    written = first["cache_creation_input_tokens"]
    assert first["cache_read_input_tokens"] == 0
    assert written > 0
    # The whole first prompt is read back; the answer to it and the second question are new.
    assert second["cache_read_input_tokens"] == written
    assert 0 < second["cache_creation_input_tokens"] < 20
    assert [r.usage.cache_read_input_tokens for r in api.turns] == [0, written]
    assert api.last.conversation == [
        ("user", "first question"),
        ("assistant", "You said: first question"),
        ("user", "second question"),
    ]


async def test_a_call_of_an_unknown_tool_comes_back_as_an_error(api: StandIn, start_cli: Start) -> None:
    api.push(Reply.of(ToolUse("Nope", {"a": 1}, id="toolu_1")), "Sorry.")
    cli = await start_cli()
    events = await cli.turn("Use it.")
    assert events[-1]["result"] == "Sorry."
    assert json.loads("".join(deltas(events, "partial_json"))) == {"a": 1}
    sent = [b for m in api.last.messages if m["role"] == "user" for b in m["content"] if isinstance(b, dict)]
    results = [b for b in sent if b["type"] == "tool_result"]
    assert [(b["tool_use_id"], b["is_error"]) for b in results] == [("toolu_1", True)]
    assert "No such tool available: Nope" in json.dumps(results)


async def test_a_tool_of_an_sdk_server_is_called(api: StandIn, start_cli: Start) -> None:
    config = json.dumps({"mcpServers": {"fn": {"type": "sdk", "name": "fn"}}})
    cli = await start_cli("--mcp-config", config, "--allowedTools", "mcp__fn")
    api.push(Reply.of(ToolUse("add", {"a": 2, "b": 3})))
    await cli.ask("Add.")
    calls: list[dict[str, Any]] = []
    event = await cli.read()
    while event["type"] != "result":
        if event["type"] == "control_request" and event["request"]["subtype"] == "mcp_message":
            message = event["request"]["message"]
            calls += [message["params"]] if message["method"] == "tools/call" else []
            await cli.send(control_response(event["request_id"], message))
        event = await cli.read()
    assert [(c["name"], c["arguments"]) for c in calls] == [("add", {"a": 2, "b": 3})]
    # The default answer: the model heard what the tool said.
    assert event["result"] == "The tool said: 5"
    assert [r.tools for r in api.turns] == [["add"]] * 2


def control_response(request_id: str, message: dict[str, Any]) -> dict[str, Any]:
    """The answer of a small MCP server to one JSON-RPC message."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    results: dict[str, Any] = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "fn", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "add", "description": "Adds.", "inputSchema": schema}]},
        "tools/call": {"content": [{"type": "text", "text": "5"}]},
    }
    reply = {"jsonrpc": "2.0", "id": message.get("id", 0), "result": results.get(message["method"], {})}
    response = {"subtype": "success", "request_id": request_id, "response": {"mcp_response": reply}}
    return {"type": "control_response", "response": response}


async def test_a_json_schema_is_answered_with_its_tool(api: StandIn, start_cli: Start) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    cli = await start_cli("--json-schema", json.dumps(schema))
    result = (await cli.turn("A number, please."))[-1]
    assert result["structured_output"] == {"n": 0}
    assert api.last.tools == ["StructuredOutput"]


ERRORS = {
    "bad request": (ApiError.bad_request("no good"), 400, "API Error: 400"),
    "prompt too long": (ApiError.prompt_too_long(), 400, "Prompt is too long"),
    "key": (ApiError.unauthorized(), 401, "Invalid API key"),
    "token": (ApiError(401, message="Invalid bearer token"), 401, "Failed to authenticate. API Error:"),
    "forbidden": (ApiError.forbidden(), 403, "Failed to authenticate. API Error:"),
    "model": (ApiError.model_not_found("sonnet"), 404, "There's an issue with the selected model"),
    "too large": (ApiError.too_large(), 413, "Request too large"),
    "rate limit": (ApiError.rate_limited(), 429, "API Error: Request rejected (429)"),
    "server error": (ApiError.server_error(), 500, "API Error: 500"),
    "overloaded": (ApiError.overloaded(), 529, "API Error: 529"),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_errors(api: StandIn, start_cli: Start, case: str) -> None:
    answer, status, text = ERRORS[case]
    api.responder = lambda request: answer
    cli = await start_cli()
    result = (await cli.turn("hello"))[-1]
    assert (result["subtype"], result["is_error"]) == ("success", True)
    assert result["api_error_status"] == status
    assert result["result"].startswith(text)
    assert {r.outcome for r in api.turns} == {"error"}


async def test_a_used_up_subscription(api: StandIn, start_cli: Start) -> None:
    resets_at = int(time.time()) + 3600
    api.push(ApiError.subscription_limit(resets_at=resets_at))
    # Only a login has such a limit; with a plain key the CLI doesn't look at these headers.
    cli = await start_cli(ANTHROPIC_API_KEY=None, CLAUDE_CODE_OAUTH_TOKEN="sk-ant-oat01-made-up")
    events = await cli.turn("hello")
    assert events[-1]["api_error_status"] == 429
    assert events[-1]["result"].startswith("You've hit your ")
    infos = [e["rate_limit_info"] for e in events if e["type"] == "rate_limit_event"]
    assert [(i["status"], i["resetsAt"], i["rateLimitType"]) for i in infos] == [
        ("rejected", resets_at, "five_hour")
    ]
    assert api.last.headers["authorization"] == "Bearer ***"


async def test_limit_headers_on_a_good_answer(api: StandIn, start_cli: Start) -> None:
    resets_at = int(time.time()) + 3600
    headers = unified_limit_headers(status="allowed", resets_at=resets_at, utilization=0.25)
    api.push(Reply.of("fine", headers=headers))
    cli = await start_cli(ANTHROPIC_API_KEY=None, CLAUDE_CODE_OAUTH_TOKEN="sk-ant-oat01-made-up")
    events = await cli.turn("hello")
    assert events[-1]["result"] == "fine"
    infos = [e["rate_limit_info"] for e in events if e["type"] == "rate_limit_event"]
    assert [(i["status"], i["resetsAt"], i["rateLimitType"]) for i in infos] == [
        ("allowed", resets_at, "five_hour")
    ]


BROKEN: dict[str, Answer] = {
    "cut in the text": Cut(chars=4),
    "cut after message_start": Cut(chars=0),
    "cut before the first byte": Cut(chars=None),
    "silence": Silence(seconds=0.1),
    "silence in the text": Silence(seconds=0.1, chars=4),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_broken_answers(api: StandIn, start_cli: Start, case: str) -> None:
    api.responder = lambda request: BROKEN[case]
    cli = await start_cli()
    result = (await cli.turn("hello"))[-1]
    assert result["is_error"]
    assert result["api_error_status"] is None
    assert result["result"].startswith("API Error:")
    assert {r.outcome for r in api.turns} == {"cut"}


async def test_an_error_in_the_stream(api: StandIn, start_cli: Start) -> None:
    api.responder = lambda request: StreamError(chars=4)
    cli = await start_cli()
    events = await cli.turn("hello")
    assert events[-1]["is_error"]
    # Older CLIs show the error's JSON here.
    assert events[-1]["result"].startswith("API Error: ")
    assert "Overloaded" in events[-1]["result"]
    assert "".join(deltas(events, "text")) == "This"


async def test_an_interrupt_closes_the_connection(api: StandIn, start_cli: Start) -> None:
    api.push(Silence(chars=4), "The next one.")
    cli = await start_cli()
    await cli.ask("hello")
    events: Events = []
    while not deltas(events, "text"):
        events.append(await cli.read())
    request = {"subtype": "interrupt"}
    await cli.send({"type": "control_request", "request_id": "i1", "request": request})
    result = (await cli.until("result"))[-1]
    assert result["subtype"] == "error_during_execution"
    assert await asyncio.to_thread(api.wait_ended, api.turns[0]) == "client_left"
    assert (await cli.turn("Again."))[-1]["result"] == "The next one."


async def test_a_stop_sequence_of_the_request(api: StandIn, start_cli: Start) -> None:
    api.push(Reply.of("one, two, STOP, three"))
    cli = await start_cli(CLAUDE_CODE_EXTRA_BODY=json.dumps({"stop_sequences": ["STOP"]}))
    result = (await cli.turn("Count."))[-1]
    assert result["result"] == "one, two, "
    assert result["stop_reason"] == "stop_sequence"


async def test_the_output_limit_of_the_request(api: StandIn, start_cli: Start) -> None:
    api.push(Reply.of(Text("x" * 100)), "and so on")
    cli = await start_cli(CLAUDE_CODE_MAX_OUTPUT_TOKENS="10", CLAUDE_CODE_DISABLE_THINKING="1")
    events = await cli.turn("Write.")
    stops = [e["event"]["delta"]["stop_reason"] for e in events if is_message_delta(e)]
    # The CLI asks for the rest by itself.
    assert stops == ["max_tokens", "end_turn"]
    assert api.turns[1].conversation[1] == ("assistant", "x" * 40)


def is_message_delta(event: dict[str, Any]) -> bool:
    return event["type"] == "stream_event" and bool(event["event"]["type"] == "message_delta")


async def test_earlier_turns_arrive_as_they_were_put_in(api: StandIn, start_cli: Start) -> None:
    cli = await start_cli()
    earlier = {"role": "user", "content": "My name is Ada."}
    line = {"type": "user", "message": earlier, "parent_tool_use_id": None, "session_id": ""}
    await cli.send({**line, "uuid": "6f8b3f4e-7c9d-4d51-9d0c-0e3f4a5b6c7d", "shouldQuery": False})
    await cli.until("result")
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [{"type": "text", "text": "Hello Ada."}],
    }
    answer = {"type": "assistant", "message": said, "parent_tool_use_id": None, "session_id": ""}
    await cli.send({**answer, "uuid": "6f8b3f4e-7c9d-4d51-9d0c-0e3f4a5b6c7e"})
    await cli.turn("Who am I?")
    assert api.last.conversation == [
        ("user", "My name is Ada."),
        ("assistant", "Hello Ada."),
        ("user", "Who am I?"),
    ]
    assert len(api.turns) == 1
