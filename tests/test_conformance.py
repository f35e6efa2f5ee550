"""The checks that every other test relies on: they complain, and the taps on both httpx hear everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest

from claude_server.standin import Reply, StandIn
from tests import conformance
from tests.support import PATIENCE, Server

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cache_read_input_tokens": 0}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "sonnet", "object": "chat.completion.chunk"}
Body = dict[str, Any]


def whole(**message: Any) -> Body:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "sonnet",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None, **message},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": dict(USAGE),
        "x_claude": {"anything": 1},
    }


def test_a_good_answer() -> None:
    assert conformance.completion(json.dumps(whole(reasoning_content="hm", tool_calls=[CALL])).encode()) == []


def change(where: str, value: Any) -> Callable[[Body], None]:
    def made(body: Body) -> None:
        *path, last = where.split(".")
        at: Any = body
        for key in path:
            at = at[int(key)] if key.isdigit() else at[key]
        at[last] = value

    return made


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("created", "1"),
        ("created", 1.5),
        ("id", None),
        ("extra", 1),
        ("object", "chat"),
        ("usage", None),
        ("usage.total_tokens", None),
        ("usage.input_tokens", 3),
        ("choices", []),
        ("choices.0.index", 1),
        ("choices.0.finish_reason", None),
        ("choices.0.finish_reason", "tool_calls"),
        ("choices.0.finish_reason", "end_turn"),
        ("choices.0.message.content", ["hi"]),
        ("choices.0.message.thinking", "hm"),
        ("choices.0.message.role", "user"),
        ("choices.0.message.tool_calls", [{**CALL, "type": "tool"}]),
        ("choices.0.message.tool_calls", [{**CALL, "function": {"name": "f", "arguments": {}}}]),
        ("choices.0.message.tool_calls", [{**CALL, "function": {"name": "f", "arguments": "{"}}]),
        ("choices.0.message.tool_calls", [{**CALL, "index": 0}]),
    ],
)
def test_a_bad_answer(where: str, value: Any) -> None:
    body = whole()
    change(where, value)(body)
    assert conformance.completion(json.dumps(body).encode())


def chunk(delta: Body | None, finish: str | None = None, **more: Any) -> Body:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {**HEAD, "choices": choices, **more}


ROLE = chunk({"role": "assistant", "content": ""})
TEXT = chunk({"content": "hi"})
STOP = chunk({}, "stop")
FIRST = chunk({"tool_calls": [{"index": 0, **CALL, "function": {"name": "f", "arguments": ""}}]})
MORE = chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})
CALLED = chunk({}, "tool_calls")
ERROR = {"error": {"message": "m", "type": "t", "param": None, "code": "c"}}
DONE = "[DONE]"


def check(events: list[Body | str], **options: Any) -> list[str]:
    checker = conformance.StreamChecker(**{"include_usage": False, **options})
    for event in events:
        text = event if isinstance(event, str) else json.dumps(event)
        for byte in f"data: {text}\n\n".encode():
            checker.feed(bytes([byte]))
    checker.end()
    return checker.complaints


def with_usage(events: list[Body]) -> list[Body | str]:
    return [*({**event, "usage": None} for event in events), chunk(None, usage=USAGE), DONE]


@pytest.mark.parametrize(
    "events",
    [
        [ROLE, TEXT, STOP, DONE],
        [ROLE, FIRST, MORE, CALLED, DONE],
        [ROLE, TEXT, ERROR],
        [ERROR],
    ],
)
def test_a_good_stream(events: list[Body | str]) -> None:
    assert check(events) == []


def test_a_good_stream_with_usage() -> None:
    assert check(with_usage([ROLE, TEXT, STOP]), include_usage=True) == []


@pytest.mark.parametrize(("ping", "good"), [(b": ping\n", True), (b": ping\n\n", False)])
def test_a_ping(ping: bytes, good: bool) -> None:
    checker = conformance.StreamChecker(include_usage=False)
    checker.feed(ping * 2 + f"data: {json.dumps(ROLE)}\n\n".encode())
    assert (checker.complaints == []) == good


@pytest.mark.parametrize(
    "events",
    [
        [],
        [TEXT, STOP, DONE],
        [ROLE, ROLE, STOP, DONE],
        [ROLE, TEXT, DONE],
        [ROLE, TEXT, STOP],
        [ROLE, STOP, TEXT, DONE],
        [ROLE, STOP, DONE, ERROR],
        [ROLE, ERROR, DONE],
        [ROLE, {"error": {"message": "m"}}],
        [ROLE, {**TEXT, "id": "other"}, STOP, DONE],
        [ROLE, {**TEXT, "object": "chat.completion"}, STOP, DONE],
        [ROLE, {**TEXT, "usage": None}, STOP, DONE],
        [ROLE, chunk({"thinking": "hm"}), STOP, DONE],
        [ROLE, CALLED, DONE],
        [ROLE, MORE, CALLED, DONE],
        [ROLE, FIRST, FIRST, MORE, CALLED, DONE],
        [ROLE, FIRST, CALLED, DONE],
        [ROLE, chunk({"tool_calls": [{"index": 1, **CALL}]}), CALLED, DONE],
        ["nonsense", DONE],
    ],
)
def test_a_bad_stream(events: list[Body | str]) -> None:
    assert check(events)


def test_a_bad_stream_with_usage() -> None:
    good = with_usage([ROLE, TEXT, STOP])
    assert check([*good[:-2], DONE], include_usage=True)
    assert check([good[0], good[-2], *good[1:3], DONE], include_usage=True)
    assert check(good)


def test_the_number_of_choices() -> None:
    assert check([ROLE, STOP, DONE], n=2)
    assert conformance.completion(json.dumps(whole()).encode(), n=2)


@pytest.mark.parametrize("block", [b"id: 1\n\n", b"event: x\ndata: {}\n\n", b"data: \n\n"])
def test_what_is_no_event_of_one_data_line(block: bytes) -> None:
    checker = conformance.StreamChecker(include_usage=False)
    checker.feed(block)
    assert checker.complaints


def test_errors_and_models() -> None:
    assert conformance.error_body(json.dumps(ERROR).encode()) == []
    assert conformance.error_body(b'{"detail": "Not Found"}')
    assert conformance.error_body(b'{"error": {"message": "m", "type": "t", "param": null}}')
    model = {"id": "haiku", "object": "model", "created": 1, "owned_by": "anthropic"}
    assert conformance.models(json.dumps(model).encode(), one=True) == []
    assert conformance.models(json.dumps({"object": "list", "data": [model]}).encode(), one=False) == []
    assert conformance.models(json.dumps({"object": "list", "data": [{}]}).encode(), one=False)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_every_answer_is_heard(
    server: Server,
    api: StandIn,
    complaints: list[str],
    monkeypatch: pytest.MonkeyPatch,
    library: Any,
    streamed: bool,
) -> None:
    """Both libraries, with and without asyncio; a field is made strange for it."""
    monkeypatch.setitem(conformance.OURS, "ChatCompletion", set())
    monkeypatch.setitem(conformance.OURS, "ChatCompletionChunk", set())
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    api.push(Reply.of("a"), Reply.of("b"))
    for asynchronous in (False, True):
        complaints.clear()
        if asynchronous:
            async with library.AsyncClient(timeout=PATIENCE) as client:
                await client.post(f"{server.base_url}/chat/completions", json=body)
        else:
            library.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
        assert len(complaints) == 1 and "unknown field 'x_claude'" in complaints[0]
    complaints.clear()
