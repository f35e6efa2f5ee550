"""An agent's loop: it asks, gets a call of one of its tools, and asks again with the result in its messages.

Each request holds all that was said before, as the clients of agents send it. What is measured is one round:
from the request to the end of the streamed answer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.bench.contestants import Http, PerRequest
from lab.bench.load import AskFailed
from lab.bench.workloads import MODEL, Turn, filled

TOOLS = 20
SYSTEM_CHARS = 15_000
RESULT_CHARS = 1_000
_TOOL_CHARS = 400
# One round; a contestant that hangs must not hang the run.
_PATIENCE = 60.0
SYSTEM = filled(
    "You are an agent that works through a folder with its tools, one call at a time.", SYSTEM_CHARS
)
CALLED = "tool_7"
# What the stand-in is told to answer, each time: some words, and a call.
REPLY: Mapping[str, Any] = {
    "blocks": [
        {"type": "text", "text": "The next part of the folder has to be looked at."},
        {"type": "tool_use", "name": CALLED, "input": {"path": "src/part/of/the/folder.py", "depth": 3}},
    ]
}
# For a process per request, which has no tools of the caller's.
TEXT_REPLY: Mapping[str, Any] = {"text": "The next part of the folder has to be looked at."}
_SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "a path below the folder"},
        "depth": {"type": "integer", "minimum": 0},
    },
    "required": ["path"],
}


@dataclass(frozen=True)
class Call:
    """A call that the model made; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str
    text: str = ""


@dataclass
class Conversation:
    """What an agent has said and heard: its question, then calls with their results."""

    question: str
    exchanges: list[tuple[Call, str]] = field(default_factory=list)

    def answered(self, call: Call) -> None:
        """Run the tool."""
        number = len(self.exchanges) + 1
        self.exchanges.append((call, filled(f"Result {number} of {self.question}", RESULT_CHARS)))


@dataclass(frozen=True)
class Round:
    """Times of one clock, in seconds: the request, the answer's first event, its end."""

    begun: float
    first: float
    ended: float


class Agent(Protocol):
    """Who is asked. `ask` gives the call and when the first of the answer came. Raises AskFailed."""

    async def ask(self, said: Conversation) -> tuple[Call, float]: ...


class FloorAgent:
    """The stand-in itself, as the Messages API."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._tools = [{"name": n, "description": d, "input_schema": _SCHEMA} for n, d in _tools()]

    async def ask(self, said: Conversation) -> tuple[Call, float]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": said.question}]
        for call, result in said.exchanges:
            used = {
                "type": "tool_use",
                "id": call.id,
                "name": call.name,
                "input": json.loads(call.arguments),
            }
            got = {"type": "tool_result", "tool_use_id": call.id, "content": result}
            messages.append({"role": "assistant", "content": [{"type": "text", "text": call.text}, used]})
            messages.append({"role": "user", "content": [got]})
        body = {"model": MODEL, "max_tokens": 32_000, "system": SYSTEM, "tools": self._tools}
        reading = _Reading(_from_messages_api)
        async with self._http.post(
            "/v1/messages", {**body, "messages": messages, "stream": True}, {"x-api-key": "made-up"}
        ) as answer:
            return await reading.call(answer)


class ChatAgent:
    """Our server's chat completions."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._tools = [
            {"type": "function", "function": {"name": n, "description": d, "parameters": _SCHEMA}}
            for n, d in _tools()
        ]

    async def ask(self, said: Conversation) -> tuple[Call, float]:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": said.question},
        ]
        for call, result in said.exchanges:
            function = {"name": call.name, "arguments": call.arguments}
            used = {"id": call.id, "type": "function", "function": function}
            messages.append({"role": "assistant", "content": call.text, "tool_calls": [used]})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        body = {"model": MODEL, "messages": messages, "tools": self._tools, "stream": True}
        async with self._http.post("/v1/chat/completions", body, {}) as answer:
            return await _Reading(_from_chat).call(answer)


class ProcessAgent:
    """A claude process per request, which is told all that was said as one text and has no tools."""

    def __init__(self, processes: PerRequest) -> None:
        self._processes = processes

    async def ask(self, said: Conversation) -> tuple[Call, float]:
        history = tuple((f"{call.text} {call.arguments}", result) for call, result in said.exchanges)
        answer = await self._processes.ask(Turn(said.question, history), False)
        return Call("none", CALLED, '{"path": "src"}', answer.text), answer.first


async def loop(
    agent: Agent, question: str, rounds: Sequence[int], after: Callable[[int], None] = lambda number: None
) -> dict[int, Round]:
    """An agent's loop of so many rounds, by number from 1; those that are not in `rounds` are made up, not
    asked. `after` hears of the end of each. Raises AskFailed."""
    said, found = Conversation(question), {}
    asked = frozenset(rounds)
    for number in range(1, max(rounds) + 1):
        call = Call(f"call_{number}", CALLED, '{"path": "src"}', str(TEXT_REPLY["text"]))
        if number in asked:
            begun = time.perf_counter()
            try:
                call, first = await asyncio.wait_for(agent.ask(said), _PATIENCE)
            except asyncio.TimeoutError:
                raise AskFailed(f"round {number} took more than {_PATIENCE:.0f} s") from None
            found[number] = Round(begun, first, time.perf_counter())
            if call.name != CALLED:
                raise AskFailed(f"round {number} called {call.name!r}")
            after(number)
        said.answered(call)
    return found


def _tools() -> list[tuple[str, str]]:
    return [
        (f"tool_{number}", filled(f"Tool {number} looks at a part of the folder.", _TOOL_CHARS))
        for number in range(1, TOOLS + 1)
    ]


# An event in, what it adds to (text, id, name, arguments) out.
_Piece = tuple[str, str, str, str]


class _Reading:
    """Reads a streamed answer with one call."""

    def __init__(self, piece_of: Callable[[Mapping[str, Any]], _Piece]) -> None:
        self._piece_of = piece_of

    async def call(self, answer: Any) -> tuple[Call, float]:
        first, rest = 0.0, b""
        text = number = name = arguments = ""
        async for read in answer.aiter_stream():
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                if not line.startswith(b"data: {"):
                    continue
                piece = self._piece_of(json.loads(line[6:]))
                if any(piece):
                    first = first or time.perf_counter()
                text, number = text + piece[0], number + piece[1]
                name, arguments = name + piece[2], arguments + piece[3]
        if not number:
            raise AskFailed("an answer without a call")
        return Call(number, name, arguments, text), first


def _from_chat(value: Mapping[str, Any]) -> _Piece:
    if value.get("error"):
        raise AskFailed(str(value["error"])[:200])
    delta = value["choices"][0].get("delta", {}) if value.get("choices") else {}
    calls = delta.get("tool_calls") or [{}]
    function = calls[0].get("function", {})
    return (
        str(delta.get("content") or ""),
        str(calls[0].get("id") or ""),
        str(function.get("name") or ""),
        str(function.get("arguments") or ""),
    )


def _from_messages_api(value: Mapping[str, Any]) -> _Piece:
    block, delta = value.get("content_block", {}), value.get("delta", {})
    if value.get("type") == "content_block_start" and block.get("type") == "tool_use":
        return "", str(block["id"]), str(block["name"]), ""
    if value.get("type") == "content_block_delta":
        return str(delta.get("text", "")), "", "", str(delta.get("partial_json", ""))
    return "", "", "", ""
