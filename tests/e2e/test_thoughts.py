"""Thinking survives a loop of calls, by what reaches the stand-in: it refuses thoughts that it did not sign,
and calls of a model with a budget that come without them."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from claude_server.standin import ApiRequest, RedactedThinking, Reply, StandIn, Text, Thinking, ToolUse
from claude_server.standin.signatures import fresh_data, sign
from tests.support import PATIENCE, Server, clean_environment, serving

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


def round_of(client: OpenAI, model: str, messages: list[Any], number: int, *, forgets: bool) -> None:
    """One round of an agent that streams, and sends back what it got; its calls are answered. `forgets`: it
    knows only OpenAI's own fields."""
    with client.chat.completions.stream(model=model, messages=messages, tools=TOOLS) as stream:  # type: ignore[arg-type]
        message = stream.get_final_completion().choices[0].message
    told = message.to_dict()
    assert [detail["type"] for detail in told["reasoning_details"]]  # type: ignore[attr-defined]
    if forgets:
        told = {name: told[name] for name in ("role", "content", "tool_calls")}
    messages.append(told)
    for call in message.tool_calls or ():
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"seen {number}"})


@pytest.mark.parametrize("model", ["sonnet", BUDGET])
def test_a_loop_of_an_unchanged_client(model: str, each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """Injected each time, also after a restart: each call comes after the thoughts that came before it, where
    they were."""
    chosen = {"CLAUDE_BIN": str(each_cli), "CLAUDE_SUSPENDED": "0"}
    environment = clean_environment(tmp_path / "home", api.url, **chosen)
    messages: list[Any] = [{"role": "user", "content": "Look around."}]
    said = [reply(number) for number in range(6)]
    for rounds in (range(3), range(3, 6)):
        with serving(tmp_path / "home", environment) as server, server.client() as client:
            for number in rounds:
                api.push(said[number])
                round_of(client, model, messages, number, forgets=True)
                assert answers_in(api.last) == list(map(blocks_of, said[:number]))
                assert api.last.body["thinking"]["type"] == ("enabled" if model == BUDGET else "adaptive")
    assert len(api.turns) == 6


@pytest.fixture(scope="module")
def forgetful(
    each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that keeps no thoughts, and no process that would."""
    home = tmp_path_factory.mktemp("home")
    chosen = {"CLAUDE_BIN": str(each_cli), "CLAUDE_MAX_RETRIES": "0", "CLAUDE_THINKING_TTL": "0"}
    chosen["CLAUDE_SUSPENDED"] = "0"
    with serving(home, clean_environment(home, shared_api.url, **chosen)) as running:
        yield running


@pytest.mark.parametrize("model", ["sonnet", BUDGET])
def test_a_loop_of_a_client_that_sends_thinking_back(model: str, forgetful: Server, api: StandIn) -> None:
    """As OpenAI's SDK does with what it makes of a stream. All thoughts of an answer come first then."""
    messages: list[Any] = [{"role": "user", "content": "Look around."}]
    said = [reply(number) for number in range(4)]
    with forgetful.client() as client:
        for number, answer in enumerate(said):
            api.push(answer)
            round_of(client, model, messages, number, forgets=False)
            sent = [sorted(blocks_of(a), key=lambda b: "thinking" not in b["type"]) for a in said[:number]]
            assert answers_in(api.last) == sent
    assert len(api.turns) == 4


def ask(server: Server, messages: list[Any], **more: Any) -> dict[str, Any]:
    body = {"model": "sonnet", "tools": TOOLS, "messages": messages, **more}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def loop(**message: Any) -> list[Any]:
    """A loop whose call came with this."""
    function = {"name": "look", "arguments": "{}"}
    calls = [{"id": "toolu_x", "type": "function", "function": function}]
    return [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": calls, **message},
        {"role": "tool", "tool_call_id": "toolu_x", "content": "seen"},
    ]


@pytest.mark.parametrize("model", ["sonnet", BUDGET])
def test_thoughts_that_the_api_refuses(model: str, forgetful: Server, api: StandIn) -> None:
    """They are left out, and the turn is asked once more: by the CLI itself, which says nothing, or by us."""
    forged = (
        {"type": "reasoning.encrypted", "data": base64.b64encode(model.encode()).decode()},
        {"type": "reasoning.text", "text": "hm", "signature": f"forged for {model}"},
    )
    for detail in forged:
        api.reset()
        made = ask(forgetful, loop(reasoning_details=[detail]), model=model)
        assert made["choices"][0]["message"]["content"] and made["x_claude"]["retries"] == 0
        kinds = [[block["type"] for block in answers_in(turn)[0]] for turn in api.turns]
        assert kinds[0][1:] == kinds[-1] == ["tool_use"] and len(kinds) <= 3
        assert (api.last.body.get("thinking") or {}).get("type") == (None if model == BUDGET else "adaptive")
        if any("left out" in n or "without it" in n for n in made["x_claude"]["notices"]):
            # It is not tried again.
            api.reset()
            ask(forgetful, loop(reasoning_details=[detail]), model=model)
            assert len(api.turns) == 1


def test_another_key_gets_no_thoughts(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    chosen = {"CLAUDE_BIN": str(claude_bin), "API_KEYS": "one-key,another-key"}
    chosen["CLAUDE_REASONING_DETAILS"] = "off"
    with serving(tmp_path / "home", clean_environment(tmp_path / "home", api.url, **chosen)) as server:
        api.push(Reply.of(Thinking("Secret."), ToolUse("look", {}, id="toolu_x")))
        for key, messages in (("one-key", loop()[:1]), ("another-key", loop()), ("one-key", loop())):
            answer = httpx.post(
                f"{server.url}/v1/chat/completions",
                json={"model": "sonnet", "tools": TOOLS, "messages": messages},
                headers={"Authorization": f"Bearer {key}"},
                timeout=PATIENCE,
            )
            assert answer.status_code == 200 and "reasoning_details" not in answer.text
        _, foreign, own = api.turns
        assert b"Secret." not in foreign.raw and b"Secret." in own.raw


@pytest.mark.parametrize("model", ["sonnet", BUDGET])
def test_a_session_keeps_its_thinking(model: str, each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """In its process, and in its transcript: each turn of the loop has a server of its own but the second."""
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(each_cli))
    name, said = str(uuid.uuid4()), [reply(number) for number in range(3)]
    messages: list[Any] = [{"role": "user", "content": "Look around."}]
    for rounds in (range(2), range(2, 3)):
        with serving(tmp_path / "home", environment) as server:
            for number in rounds:
                api.push(said[number])
                message = ask(server, messages, model=model, session_id=name)["choices"][0]["message"]
                assert answers_in(api.last) == list(map(blocks_of, said[:number]))
                assert api.last.body["thinking"]["type"] == ("enabled" if model == BUDGET else "adaptive")
                ids = [call["id"] for call in message["tool_calls"]]
                messages = [{"role": "tool", "tool_call_id": id, "content": "seen"} for id in ids]


def test_a_model_that_turns_out_to_want_thoughts(forgetful: Server, api: StandIn) -> None:
    """The CLI gives it a budget, by a name that says nothing to us: the API's refusal is met once."""
    for requests, messages in ((2, loop()), (1, loop()), (1, loop()[:1])):
        api.reset()
        made = ask(forgetful, messages, model="gateway/claude-sonnet-4-5-1")
        assert made["choices"][0]["message"]["content"] and made["x_claude"]["retries"] == 0
        assert len(api.turns) == requests
        assert (api.last.body.get("thinking") is None) == (len(messages) > 1)
