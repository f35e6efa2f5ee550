"""Calls, answers by a tool, and stops among the frames of a turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_server.core.model import (
    BlockEnded,
    Citation,
    RedactedThinking,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolCallDelta,
    ToolCallStarted,
    TurnDone,
    TurnEvent,
    TurnStarted,
    Usage,
)
from claude_server.engine.protocol.blocks import AnswerTool
from claude_server.engine.protocol.events import TurnTranslator
from tests.engine.lines import block, call, ending, result, start, stream, text

ANSWER = AnswerTool(Tool("json_answer", "", "{}"), wrapped=False)
WRAPPED = AnswerTool(ANSWER.tool, wrapped=True)
INTERRUPTED = result(subtype="error_during_execution", is_error=True, errors=["interrupted"])


def thinking(*words: str, signature: str = "sig") -> list[dict[str, Any]]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in words]
    signed = {"type": "signature_delta", "signature": signature}
    return block("thinking", *(stream("content_block_delta", delta=delta) for delta in (*deltas, signed)))


def run(translator: TurnTranslator, *frames: dict[str, Any]) -> tuple[list[TurnEvent], TurnDone]:
    """What is told of an answer, and its end."""
    first, *events = [event for frame in (start(), *frames) for event in translator.translate(frame)]
    assert first == TurnStarted("claude-x")
    end = events.pop()
    assert isinstance(end, TurnDone) and (translator.done, translator.clean) == (True, True)
    return events, end


# The client's tools


def test_calls() -> None:
    translator = TurnTranslator()
    frames = [
        *thinking("hm"),
        *block("text", text("So.")),
        *call("f", "", '{"a"', ": 1}", id="1"),
        *call("Bash", "", id="2"),
        *ending("tool_use", output_tokens=7),
    ]
    events, end = run(translator, *frames, INTERRUPTED)
    assert events == [
        ThinkingDelta("hm"),
        BlockEnded(Thinking("hm", "sig")),
        TextDelta("So."),
        BlockEnded(),
        ToolCallStarted("1", "f"),
        ToolCallDelta('{"a"'),
        ToolCallDelta(": 1}"),
        BlockEnded(),
        ToolCallStarted("2", "Bash"),
        BlockEnded(),
    ]
    assert (end.stop_reason, end.usage, end.api_requests) == ("tool_use", Usage(0, 0, 0, 7), 1)
    # A client sends the calls back with ids of its own: what the process holds can't be built on.
    assert translator.plain_answer is None


def test_thoughts_are_whole_at_their_end() -> None:
    frames = [
        *thinking("h", "", "m", signature="s1"),
        *thinking(signature="of what the API keeps to itself"),
        *block("redacted_thinking", data="ZGF0YQ=="),
        *block("text", text("So.")),
        *thinking("And?", signature="s2"),
        *block("something_new"),
        *call("f", "{}"),
        *ending("tool_use"),
    ]
    events, _ = run(TurnTranslator(), *frames, INTERRUPTED)
    assert events == [
        ThinkingDelta("h"),
        ThinkingDelta("m"),
        BlockEnded(Thinking("hm", "s1")),
        BlockEnded(Thinking("", "of what the API keeps to itself")),
        BlockEnded(RedactedThinking("ZGF0YQ==")),
        TextDelta("So."),
        BlockEnded(),
        ThinkingDelta("And?"),
        BlockEnded(Thinking("And?", "s2")),
        ToolCallStarted("toolu_1", "f"),
        ToolCallDelta("{}"),
        BlockEnded(),
    ]


def test_a_call_ends_the_turn_and_what_the_cli_does_then_is_nobodys() -> None:
    translator = TurnTranslator()
    for frame in (start(), *call("f", "{}"), *ending("end_turn")[1:]):
        translator.translate(frame)
        assert not translator.cut
    (delta, _) = ending("tool_use")
    assert translator.translate(delta) == () and translator.cut
    for frame in (start("other"), *block("text", text("more")), *call("g", "{}"), *ending("end_turn")):
        assert translator.translate(frame) == ()
    (end,) = translator.translate(INTERRUPTED)
    # Both were paid for.
    assert isinstance(end, TurnDone) and (end.stop_reason, end.api_requests) == ("tool_use", 2)
    assert end.model == "claude-x"


@pytest.mark.parametrize("again", [0, 1, 3])
def test_the_answers_that_the_api_began_are_counted(again: int) -> None:
    frames = [start(), *ending("pause_turn")] * again
    _, end = run(TurnTranslator(), *frames, *block("text", text("a")), *ending("end_turn"), result())
    assert end.api_requests == 1 + again


# The tool that takes the answer


@pytest.mark.parametrize(
    ("tool", "pieces", "told"),
    [
        (ANSWER, ["", '{"a"', ": 1}"], ['{"a"', ": 1}"]),
        (ANSWER, [""], ["{}"]),
        (WRAPPED, ["", '{"val', 'ue": [1, ', "2]}"], ["[1, 2]"]),
        (WRAPPED, ['{"value": null}'], ["null"]),
        (WRAPPED, ['{"valu'], ['{"valu']),
    ],
)
def test_an_answer_by_its_tool_is_text(tool: AnswerTool, pieces: list[str], told: list[str]) -> None:
    frames = [*thinking("hm"), *block("text", text("Here it is:")), *call("json_answer", *pieces)]
    translator = TurnTranslator(answer=tool)
    events, end = run(translator, *frames, *ending("tool_use"), INTERRUPTED)
    # Of the text beside it nothing is told, not even its end.
    thought = [ThinkingDelta("hm"), BlockEnded(Thinking("hm", "sig"))]
    assert events == [*thought, *map(TextDelta, told), BlockEnded()]
    assert end.stop_reason == "end_turn"
    assert translator.plain_answer is None


def test_the_answers_tool_beside_the_clients() -> None:
    events, end = run(TurnTranslator(answer=ANSWER), *call("f", "{}"), *ending("tool_use"), INTERRUPTED)
    assert events == [ToolCallStarted("toolu_1", "f"), ToolCallDelta("{}"), BlockEnded()]
    assert end.stop_reason == "tool_use"


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "refusal"])
def test_an_answer_that_did_not_come_by_its_tool_is_none(reason: str) -> None:
    """Its words are not what was asked for: the form will not hold."""
    frames = [*block("text", text("I'd rather not.")), *ending(reason), result()]
    events, end = run(TurnTranslator(answer=ANSWER), *frames)
    assert (events, end.stop_reason) == ([], reason)


# Stops that the API doesn't look for


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (["a\n", "\nb"], ["a"]),
        (["a", "\n\n"], ["a"]),
        (["\n\nrest"], []),
        (["a\nb", "\n", "\n"], ["a\nb"]),
    ],
)
def test_a_stop_cuts_the_turn(pieces: list[str], told: list[str]) -> None:
    translator = TurnTranslator(stop=["\n\n", "\t"])
    frames = [start(output_tokens=1), *block("text", *map(text, pieces), text("never told"))]
    events = [event for frame in frames for event in translator.translate(frame)]
    assert events == [TurnStarted("claude-x"), *map(TextDelta, told)]
    assert translator.cut and not translator.done
    (end,) = translator.translate(INTERRUPTED)
    assert isinstance(end, TurnDone) and end.stop_reason == "stop_sequence"
    assert end.stop_sequence in ("\n\n", "\t")
    assert translator.plain_answer is None


def test_where_a_text_comes_from_and_the_stop_that_the_api_found() -> None:
    place = {"type": "char_location", "cited_text": "grass", "document_index": 0}
    cited = stream("content_block_delta", delta={"type": "citations_delta", "citation": place})
    last, stopped = ending("stop_sequence")
    last["event"]["delta"]["stop_sequence"] = "END"
    events, end = run(TurnTranslator(), *block("text", text("Green."), cited), last, stopped, result())
    assert events == [TextDelta("Green."), Citation(json.dumps(place)), BlockEnded()]
    assert (end.stop_reason, end.stop_sequence) == ("stop_sequence", "END")


def test_a_stop_that_does_not_come() -> None:
    translator = TurnTranslator(stop=["\n\n"])
    frames = [*block("text", text("a\n"), text("b\n")), *ending("end_turn")]
    events, end = run(translator, *frames, result())
    assert events == [TextDelta("a"), TextDelta("\nb"), TextDelta("\n"), BlockEnded()]
    assert (end.stop_reason, translator.cut, translator.plain_answer) == ("end_turn", False, "a\nb\n")


def test_a_stop_is_not_looked_for_in_thoughts_and_arguments() -> None:
    frames = [*thinking("\t"), *call("f", '{"a":\t1}'), *ending("tool_use")]
    events, end = run(TurnTranslator(stop=["\t"]), *frames, INTERRUPTED)
    assert events[0] == ThinkingDelta("\t") and events[-2] == ToolCallDelta('{"a":\t1}')
    assert end.stop_reason == "tool_use"
