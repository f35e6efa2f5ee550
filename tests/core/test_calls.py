"""Calls and results of a session, without a session."""

from __future__ import annotations

from claude_server.core.calls import SessionCalls, paired, with_results
from claude_server.core.model import NO_RESULT, Image, Message, OpenCall, ToolResult, ToolUse

FIRST = OpenCall("toolu_1", "look")
SECOND = OpenCall("toolu_2", "json_answer", "The answer was delivered.")
DOT = Image("image/png", "aaaa")


def user(*blocks: str | Image | ToolResult) -> Message:
    return Message("user", blocks)


def test_results_come_first_and_missing_ones_are_filled_in() -> None:
    given = user("And?", ToolResult("toolu_1", ("sun",)))
    assert with_results(given, [FIRST, SECOND]) == user(
        ToolResult("toolu_1", ("sun",)), ToolResult("toolu_2", ("The answer was delivered.",)), "And?"
    )
    assert with_results(user("Never mind."), [FIRST]).blocks[0] == ToolResult("toolu_1", (NO_RESULT,))


def test_a_result_for_no_call_is_text() -> None:
    given = user(ToolResult("toolu_1", ("a",)), ToolResult("toolu_1", ("again", DOT)))
    assert with_results(given, [FIRST]) == user(
        ToolResult("toolu_1", ("a",)), "[Result of the tool call toolu_1] again", DOT
    )


def test_a_failed_call_stays_one() -> None:
    given = user(ToolResult("look", ("dark",), is_error=True))
    assert with_results(given, [FIRST]) == user(ToolResult("toolu_1", ("dark",), is_error=True))


def test_a_result_may_name_the_function() -> None:
    twice = [OpenCall("toolu_1", "look"), OpenCall("toolu_2", "look")]
    given = user(ToolResult("look", ("a",)), ToolResult("call_look", ("b",)))
    assert with_results(given, twice) == user(ToolResult("toolu_1", ("a",)), ToolResult("toolu_2", ("b",)))


def test_a_whole_conversation_keeps_the_results_of_its_own_calls() -> None:
    call = Message("assistant", (ToolUse("toolu_1", "look", {}),))
    talk = (user("Go."), call, user(ToolResult("toolu_1", ("sun",))))
    assert paired(talk) == talk
    assert paired((user(ToolResult("toolu_9", ("x",))),)) == (user("[Result of the tool call toolu_9] x"),)


def test_what_a_record_keeps() -> None:
    came = [Message("assistant", (ToolUse("toolu_0", "earlier", {}),))]
    calls = SessionCalls(names=("look",)).after(came, (FIRST, SECOND))
    assert calls == SessionCalls((FIRST, SECOND), ("earlier", "json_answer", "look"))
    assert SessionCalls.from_json(calls.to_json()) == calls
    assert calls.after((), ()).open == ()
    assert SessionCalls.from_json("") is None
