"""At which answers a process may wait."""

from __future__ import annotations

from typing import Any

import pytest

from claude_server.core.model import Message, RedactedThinking, Thinking, ToolUse
from claude_server.engine.protocol.held_answer import HeldAnswer

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
SAID = {"type": "text", "text": "so"}
REDACTED = {"type": "redacted_thinking", "data": "xx"}


def call(id: str, name: str = "look", arguments: object = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {} if arguments is None else arguments}


def test_it_holds_what_the_process_says() -> None:
    held = HeldAnswer(("look",))
    for block in (THOUGHT, REDACTED, SAID, call("a", arguments={"x": 1}), call("b")):
        held.note([block])
    calls = (ToolUse("a", "look", {"x": 1}), ToolUse("b", "look", {}))
    assert held.message == Message("assistant", (Thinking("hm", "s"), RedactedThinking("xx"), "so", *calls))
    assert (held.first_call, held.may_wait, held.has_thoughts) == ("a", True, True)


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [SAID],
        [call("a"), call("b", "unknown")],
        [call("a", arguments="no object")],
        [{"type": "server_tool_use", "id": "s", "name": "look", "input": {}}, call("a")],
    ],
)
def test_it_may_not_wait(blocks: list[dict[str, Any]]) -> None:
    held = HeldAnswer(("look",))
    held.note(blocks)
    assert not held.may_wait


def test_nobody_waits_where_no_names_are_given() -> None:
    held = HeldAnswer()
    held.note([call("a")])
    assert not held.may_wait


@pytest.mark.parametrize(("first", "may"), [(THOUGHT, True), (REDACTED, True), (SAID, False)])
def test_within_a_budget_a_thought_comes_first(first: dict[str, Any], may: bool) -> None:
    held = HeldAnswer(("look",), needs_thought=True)
    held.note([first, call("a")])
    assert held.may_wait is may


def test_a_call_that_the_process_answers_by_itself() -> None:
    held = HeldAnswer(("look",))
    held.note([call("a")])
    other = {"type": "tool_result", "tool_use_id": "z", "content": "x"}
    assert not held.is_answered_by({"type": "user", "message": {"content": [other]}}) and held.may_wait
    assert not held.is_answered_by({"type": "user", "message": {"content": "text"}})
    assert held.is_answered_by({"type": "user", "message": {"content": [{**other, "tool_use_id": "a"}]}})
    assert not held.may_wait
