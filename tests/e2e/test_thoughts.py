"""Thinking survives a loop of calls, by what reaches the stand-in: it refuses thoughts that it did not sign,
and calls of a model with a budget that come without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from claude_server.standin import ApiRequest, RedactedThinking, Reply, StandIn, Text, Thinking, ToolUse
from claude_server.standin.signatures import fresh_data, sign
from tests.support import clean_environment, serving

BUDGET = "claude-sonnet-4-5"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("look", "count")]


def reply(number: int) -> Reply:
    """An answer that thinks and calls, in one of the orders that there are."""
    calls = [ToolUse("look", {"n": number}, id=f"toolu_{number}a")]
    thought = Thinking(f"Round {number}: I look.")
    if number % 3 == 0:
        return Reply.of(thought, Text(f"I look, {number}."), Thinking("And count."), *calls)
    if number % 3 == 1:
        return Reply.of(thought, *calls, ToolUse("count", {"n": number}, id=f"toolu_{number}b"))
    return Reply.of(RedactedThinking(fresh_data()), thought, Text(f"I look, {number}."), *calls)


def blocks_of(answer: Reply) -> list[dict[str, Any]]:
    """The answer as the API wants it back."""
    made: list[dict[str, Any]] = []
    for block in answer.blocks:
        if isinstance(block, Thinking):
            made.append({"type": "thinking", "thinking": block.text, "signature": sign(block.text)})
        elif isinstance(block, RedactedThinking):
            made.append({"type": "redacted_thinking", "data": block.data})
        elif isinstance(block, Text):
            made.append({"type": "text", "text": block.text})
        else:
            made.append({"type": "tool_use", "id": block.id, "name": block.name, "input": {**block.input}})
    return made


def answers_in(request: ApiRequest) -> list[list[dict[str, Any]]]:
    return [
        [{k: v for k, v in block.items() if k != "cache_control"} for block in message["content"]]
        for message in request.body["messages"]
        if message["role"] == "assistant"
    ]


def round_of(client: OpenAI, model: str, messages: list[Any], number: int) -> None:
    """One round of an agent that streams; its calls are answered."""
    with client.chat.completions.stream(model=model, messages=messages, tools=TOOLS) as stream:  # type: ignore[arg-type]
        message = stream.get_final_completion().choices[0].message
    messages.append(message.to_dict())
    for call in message.tool_calls or ():
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"seen {number}"})


@pytest.mark.parametrize("model", ["sonnet", BUDGET])
def test_a_loop_of_an_unchanged_client(model: str, each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """Also after a restart: each call comes after the thoughts that came before it, where they were."""
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(each_cli))
    messages: list[Any] = [{"role": "user", "content": "Look around."}]
    said = [reply(number) for number in range(6)]
    for rounds in (range(3), range(3, 6)):
        with serving(tmp_path / "home", environment) as server, server.client() as client:
            for number in rounds:
                api.push(said[number])
                round_of(client, model, messages, number)
                assert answers_in(api.last) == list(map(blocks_of, said[:number]))
                assert api.last.body["thinking"]["type"] == ("enabled" if model == BUDGET else "adaptive")
    assert len(api.turns) == 6
