"""When the model thinks, by what reaches the stand-in: it refuses thinking with a budget, as the API does,
where calls stand without the thinking that came before them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiRequest, Reply, StandIn, Text, Thinking, ToolUse
from tests.support import PATIENCE, Server, clean_environment, serving

BUDGET = "claude-sonnet-4-5"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def thinker(
    each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(home, shared_api.url, CLAUDE_BIN=str(each_cli), CLAUDE_MAX_RETRIES="0")
    with serving(home, environment) as running:
        yield running


def ask(server: Server, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The answer's message; a 200."""
    body = {"model": BUDGET, "tools": TOOLS, "messages": messages, **more}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()["choices"][0]["message"]
    return message


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(count: int = 1, text: str | None = None) -> list[dict[str, Any]]:
    """An answer that calls, and the results of its calls."""
    names = [f"call_{next(_numbers)}" for _ in range(count)]
    function = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    calls = [{"id": name, "type": "function", "function": function} for name in names]
    results = [{"role": "tool", "tool_call_id": name, "content": "cold"} for name in names]
    return [{"role": "assistant", "content": text, "tool_calls": calls}, *results]


def thinks(request: ApiRequest) -> str | None:
    """How the model was asked to think; None: not at all."""
    kind = (request.body.get("thinking") or {"type": "disabled"})["type"]
    return None if kind == "disabled" else str(kind)


@pytest.mark.parametrize(
    "loop",
    [
        [user("Weather?"), *called()],
        [user("Weather?"), *called(2, "I look.")],
        [user("Weather?"), *called(), user("Be quick.")],
        [user("Weather?"), *called(), *called(2)],
        [user("Weather?"), *called(), {"role": "assistant", "content": "Cold."}, user("Now?"), *called()],
    ],
    ids=["one", "text beside the calls", "results with text", "two rounds", "a later turn"],
)
def test_results_are_answered_by_a_model_with_a_budget(
    loop: list[dict[str, Any]], thinker: Server, api: StandIn
) -> None:
    for more in ({}, {"response_format": {"type": "json_object"}}, {"reasoning_effort": "high"}):
        api.push('{"weather": "cold"}')
        assert ask(thinker, loop, **more)["content"] == '{"weather": "cold"}'
        assert thinks(api.last) is None
    # The next turn begins anew, and so does thinking.
    ask(thinker, [*loop, {"role": "assistant", "content": "Cold."}, user("And in May?")])
    assert thinks(api.last) == "enabled"
    assert len(api.turns) == 4


@pytest.mark.parametrize("model", ["claude-haiku-4-5-20251001", "claude-opus-4-5", "haiku", "sonnet", "opus"])
def test_only_models_with_a_budget_stop_to_think(model: str, thinker: Server, api: StandIn) -> None:
    ask(thinker, [user("Weather?")], model=model)
    before = thinks(api.last)
    assert before == "adaptive" or model not in ("sonnet", "opus")
    ask(thinker, [user("Weather?"), *called()], model=model)
    assert thinks(api.last) == (None if before == "enabled" else "adaptive")
    assert len([turn for turn in api.turns if turn.tools]) == 2


def test_a_session_that_changes_models_in_a_loop(thinker: Server, api: StandIn) -> None:
    name = str(uuid.uuid4())
    asked = [user("Weather?")]
    # With a budget it can't go on from another model's thoughts, but from its own.
    for model, thinking in (
        *(("sonnet", "adaptive"), (BUDGET, None), (BUDGET, "enabled")),
        *(("sonnet", "adaptive"), (BUDGET, None)),
    ):
        api.push(Reply.of(Thinking("Hm."), ToolUse("get_weather", {"city": "Oslo"})))
        (call,) = ask(thinker, asked, model=model, session_id=name)["tool_calls"]
        assert thinks(api.last) == thinking
        asked = [{"role": "tool", "tool_call_id": call["id"], "content": "cold"}]
    api.push(Reply.of(Text("Cold.")))
    assert ask(thinker, asked, model=BUDGET, session_id=name)["content"] == "Cold."
    ask(thinker, [user("Thanks.")], model=BUDGET, session_id=name)
    assert thinks(api.last) == "enabled"
