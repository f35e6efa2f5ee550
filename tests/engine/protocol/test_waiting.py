"""Calls that wait: the order in which they are answered, and what ends it."""

from __future__ import annotations

from typing import Any

import pytest

from claude_server.core.errors import ProcessSilent
from claude_server.core.model import ToolResult
from claude_server.engine.protocol.waiting import GivenResults, Leave

ONE, TWO = ToolResult("toolu_1", ("sun",)), ToolResult("toolu_2", ("rain",), is_error=True)
ANSWER: dict[str, Any] = {"type": "stream_event", "event": {"type": "message_start"}}


def leave(call: str, number: int = 1) -> Leave:
    asked = {"subtype": "can_use_tool", "tool_name": "f", "tool_use_id": call, "input": {"x": number}}
    return Leave.asked(f"p{number}", asked)


def call(id: str) -> dict[str, Any]:
    params = {"name": "f", "arguments": {}, "_meta": {"claudecode/toolUseId": id}}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


def echo(id: str, content: object) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": id, "content": content}
    return {"type": "user", "message": {"role": "user", "content": [block]}}


def text(said: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": said}]


def test_two_calls_are_answered_in_their_order() -> None:
    given = GivenResults(leave("toolu_1"), (ONE, TWO))
    allowed = given.first()
    assert allowed["response"]["request_id"] == "p1"
    assert allowed["response"]["response"] == {"behavior": "allow", "updatedInput": {"x": 1}}
    assert given.called(call("toolu_1")) == {"content": text("sun")}
    given.said(echo("toolu_1", text("sun")))
    assert given.leave_asked(leave("toolu_2", 2))["response"]["request_id"] == "p2"
    assert given.called(call("toolu_2")) == {"content": text("rain"), "isError": True}
    assert not given.is_over
    given.said(echo("toolu_2", "rain"))
    assert given.is_over
    given.said(ANSWER)


def test_nobody_elses_call_is_answered() -> None:
    with pytest.raises(ProcessSilent):
        GivenResults(leave("toolu_9"), (ONE,)).first()
    given = GivenResults(leave("toolu_1"), (ONE, TWO))
    given.first()
    with pytest.raises(ProcessSilent):
        given.called(call("toolu_2"))
    with pytest.raises(ProcessSilent):
        given.leave_asked(leave("toolu_2"))
    given.called(call("toolu_1"))
    given.leave_asked(leave("toolu_2"))
    given.called(call("toolu_2"))
    with pytest.raises(ProcessSilent):
        given.called(call("toolu_2"))


@pytest.mark.parametrize(
    "frame",
    [
        echo("toolu_1", "<persisted-output>\nSaved to /home/x"),
        echo("toolu_1", "No such tool available"),
        echo("toolu_3", text("sun")),
        ANSWER,
    ],
)
def test_what_the_process_makes_of_a_result_ends_it(frame: dict[str, Any]) -> None:
    given = GivenResults(leave("toolu_1"), (ONE,))
    given.first()
    given.called(call("toolu_1"))
    with pytest.raises(ProcessSilent):
        given.said(frame)


def test_other_frames_are_no_concern() -> None:
    given = GivenResults(leave("toolu_1"), (ONE,))
    given.said({"type": "system", "subtype": "status"})
    given.said({"type": "user", "message": {"role": "user", "content": "text"}})
    given.said({"type": "user", "message": {"role": "user", "content": text("more")}})
