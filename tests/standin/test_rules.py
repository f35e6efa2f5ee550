"""What the API refuses."""

from __future__ import annotations

from typing import Any

import pytest

from standin.rules import validation_error

USER: dict[str, Any] = {"role": "user", "content": "hi"}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "hello"}
TOOL = {"name": "f", "input_schema": {}}
THINK = {"type": "adaptive"}
BUDGET = {"type": "enabled", "budget_tokens": 1024}
FORCE = {"type": "tool", "name": "f"}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 10, "messages": list(messages or (USER,)), **fields}


def call(*names: str) -> dict[str, Any]:
    content = [{"type": "tool_use", "id": name, "name": "f", "input": {}} for name in names]
    return {"role": "assistant", "content": content}


def result(*names: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name} for name in names]}


def blocks(role: str, *texts: str, **extra: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text, **extra} for text in texts]}


@pytest.mark.parametrize(
    "good",
    [
        body(),
        body(USER, USER, ANSWER, USER),
        body(USER, {"role": "system", "content": "more"}),
        body(USER, {"role": "assistant", "content": "prefilled"}),
        body(USER, {"role": "assistant", "content": []}),
        body(USER, call("a"), result("a")),
        body(USER, call("a", "b"), result("b"), result("a"), USER, call("c"), result("c")),
        body(USER, call("a"), {"role": "system", "content": "more"}, result("a")),
        body(tools=[TOOL], tool_choice=FORCE, temperature=0.5),
        body(thinking=THINK, temperature=1, tools=[TOOL], tool_choice={"type": "auto"}),
        body(thinking=BUDGET, max_tokens=2000),
        body(thinking={"type": "disabled"}, temperature=0),
        body(system="be brief"),
        body(system=[{"type": "text", "text": "be brief"}]),
    ],
)
def test_good_requests(good: dict[str, Any]) -> None:
    assert validation_error(good) is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"max_tokens": 1, "messages": [USER]}, "model: Field required"),
        ({"model": "m", "messages": [USER]}, "max_tokens: Field required"),
        ({"model": "m", "max_tokens": 1}, "messages: Field required"),
        (body(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
        (body(max_tokens="1"), "max_tokens: Input should be greater than or equal to 1"),
        ({"model": "m", "max_tokens": 1, "messages": []}, "at least one message is required"),
        (body({"role": "user"}), "messages.0.content: Input should be a valid list"),
        (body({"role": "system", "content": "x"}), "messages.0.role"),
        (body(USER, {"role": "tool", "content": "x"}), "messages.1.role"),
        (body(ANSWER), 'first message must use the "user" role'),
        (body(tools=[{"name": "a b"}]), "tools.0.custom.name: String should match pattern"),
        (body(tools=[TOOL, TOOL]), "Tool names must be unique"),
        (body(tool_choice={"type": "auto"}), "only be specified while providing tools"),
        (body(tools=[TOOL], tool_choice={"type": "tool", "name": "g"}), "Tool 'g' not found"),
        (body(temperature=1.5), "temperature: range: 0..1"),
        (body(thinking={"type": "enabled", "budget_tokens": 1}), "budget_tokens: Input should be"),
        (body(thinking=BUDGET, max_tokens=1024), "`max_tokens` must be greater than"),
        (body(thinking=THINK, temperature=0), "`temperature` may only be set to 1"),
        (body(thinking=THINK, top_k=5), "`top_k` must be unset"),
        (body(thinking=THINK, tools=[TOOL], tool_choice=FORCE), "tool_choice forces tool use"),
        (body(system=[{"type": "text", "text": ""}]), "system: text content blocks must be non-empty"),
        (body({"role": "user", "content": ""}, USER), "messages.0: all messages must have non-empty content"),
        (body({"role": "user", "content": []}, USER), "messages.0: all messages must have non-empty content"),
        (body(blocks("user", "")), "messages: text content blocks must be non-empty"),
        (body(blocks("user", "", cache_control={})), "cache_control cannot be set for empty text"),
        (body(blocks("user", " \n")), "must contain non-whitespace text"),
        (body(USER, blocks("assistant", "so ")), "cannot end with trailing whitespace"),
        (body(USER, call("a")), "without `tool_result` blocks immediately after: a"),
        (body(USER, call("a", "b"), result("a")), "immediately after: b"),
        (body(USER, call("a"), USER, ANSWER, result("a")), "immediately after: a"),
        (body(USER, result("a")), "unexpected `tool_use_id` found in `tool_result` blocks: a"),
        (body(USER, call("a"), result("a", "b")), "unexpected `tool_use_id`"),
        (body(result("a")), "unexpected `tool_use_id`"),
        (body(USER, call("a", "a"), result("a")), "ids must be unique"),
        (body(USER, call("a"), result("a"), call("a"), result("a")), "ids must be unique"),
    ],
)
def test_bad_requests(bad: dict[str, Any], words: str) -> None:
    assert words in str(validation_error(bad))
