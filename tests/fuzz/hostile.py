"""Inputs that are small, or allowed, and made to hold up everybody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from claude_server.standin import Answer, ApiError, Reply

_HI = {"role": "user", "content": "hi"}


@dataclass(frozen=True)
class Hostile:
    """A body, how often it is sent at a time, the statuses that are right, and what the API answers."""

    name: str
    body: Callable[[], bytes]
    statuses: frozenset[int]
    times: int = 1
    answer: Answer | None = None


def _chat(**fields: Any) -> bytes:
    return json.dumps({"messages": [_HI], **fields}).encode()


def _many(count: int, item: str) -> bytes:
    """A chat of so many messages, each as it is written here."""
    return b'{"messages":[' + b",".join([item.encode()] * count) + b"]}"


def _parts(count: int) -> bytes:
    part = b'{"type":"text","text":"x"}'
    return b'{"messages":[{"role":"user","content":[' + b",".join([part] * count) + b"]}]}"


def _tool(number: int, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"f{number}", "parameters": schema}}


def _patterns(count: int, times: int = 1) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            f"p{i}": {"type": "string", "pattern": rf"\p{{L}}{{{200 + i + times}}}"} for i in range(count)
        },
    }


def _allowed(count: int) -> bytes:
    named = [{"type": "function", "function": {"name": f"f{i}"}} for i in range(count)]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": named}}
    return _chat(tools=[_tool(i) for i in range(count)], tool_choice=choice)


def _called(arguments: str) -> bytes:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [
        _HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]
    return _chat(messages=messages, tools=[_tool(0, {"type": "object", "properties": {}})])


def _of_size(size: int, unit: str) -> int:
    return size // (len(unit) + 1)


_MESSAGE = '{"role":"user","content":"x"}'
_ASSISTANT = '{"role":"user","content":"x"},{"role":"assistant","content":"y"}'
_OK = frozenset({200})
_BAD = frozenset({400})
_EITHER = frozenset({200, 400})
_FENCED = "```json\n" + "\n" * 1000 + "x"
MIB = 1024 * 1024

HOSTILE = (
    Hostile("10 patterns of letters in a tool", lambda: _chat(tools=[_tool(0, _patterns(10))]), _EITHER),
    Hostile(
        "60 patterns of letters in tools",
        lambda: _chat(tools=[_tool(n, _patterns(10, n)) for n in range(6)]),
        _EITHER,
    ),
    Hostile(
        "10 patterns of letters in the answer's schema",
        lambda: _chat(
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": _patterns(10, 9)}}
        ),
        frozenset({200, 400, 502}),
    ),
    Hostile(
        "a blank stop text of 100 kB",
        lambda: _chat(stop=" " * 100_000),
        _EITHER,
        answer=Reply.of("word   " * 5 + " " * 3000),
    ),
    Hostile(
        "a blank stop text of 10 MB",
        lambda: _chat(stop=" " * 10_000_000),
        _EITHER,
        answer=Reply.of("word   " * 5 + " " * 3000),
    ),
    Hostile("9,000 allowed tools of 9,000", lambda: _allowed(9000), _EITHER),
    Hostile(
        "a fence with 1,000 newlines",
        lambda: _chat(response_format={"type": "json_object"}),
        frozenset({502}),
        answer=Reply.of(_FENCED, chunk_chars=None),
    ),
    Hostile("an error of 300,000 word characters", _chat, _BAD, answer=ApiError(400, message="a-" * 150_000)),
    Hostile("9 MB of tiny messages", lambda: _many(_of_size(9 * MIB, _MESSAGE), _MESSAGE), _BAD),
    Hostile("9 MB of tiny turns", lambda: _many(_of_size(9 * MIB, _ASSISTANT), _ASSISTANT), _BAD),
    Hostile("9 MB of tiny parts", lambda: _parts(_of_size(9 * MIB, '{"type":"text","text":"x"}')), _BAD),
    Hostile(
        "six bodies of 18 MB of tiny messages",
        lambda: _many(_of_size(18 * MIB, _MESSAGE), _MESSAGE),
        _BAD,
        times=6,
    ),
    Hostile(
        "18 MB of empty lists in a field that nobody knows",
        lambda: b'{"messages":[{"role":"user","content":"hi"}],"x":[' + b"[]," * (6 * MIB) + b"[]]}",
        _BAD,
    ),
    Hostile(
        "18 MB of one text",
        lambda: _chat(messages=[{"role": "user", "content": "x" * (18 * MIB)}]),
        frozenset({200, 400, 413}),
    ),
    Hostile(
        "18 MB of escapes",
        lambda: b'{"messages":[{"role":"user","content":"' + b"\\u00e9" * (3 * MIB) + b'"}]}',
        frozenset({200, 400, 413}),
    ),
    Hostile("200 turns", lambda: _many(200, _ASSISTANT)[:-2] + b"," + _MESSAGE.encode() + b"]}", _OK),
    Hostile("arguments of 100,000 brackets", lambda: _called("[" * 100_000), _OK),
    Hostile("arguments 1,000 deep", lambda: _called('{"a":' * 1000 + "1" + "}" * 1000), _OK),
    Hostile("10 MB of arguments", lambda: _called('{"a":[' + "1," * (5 * MIB) + "1]}"), _EITHER),
)
