"""The dialogue with a process, frame by frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from claude_server.core.errors import CliFailed, Overloaded
from claude_server.core.model import (
    Document,
    Image,
    Message,
    RedactedThinking,
    TextDelta,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    TurnDone,
    TurnStarted,
)
from claude_server.engine.protocol.control import (
    Dialogue,
    Expect,
    Step,
    control,
    conversation,
    flattened,
    initialize,
    transcript_text,
)
from claude_server.engine.protocol.events import TurnTranslator
from tests.engine.lines import block, call, ending, text

Q1, A1 = Message("user", ("Q1",)), Message("assistant", ("A1",))
Q2, A2 = Message("user", ("Q2", "more")), Message("assistant", ("A2a", "A2b"))
Q3 = Message("user", ("Q3",))
PNG, PDF = Image("image/png", "cG5n"), Document("cGRm", "a.pdf")
INJECTED = {"type": "result", "subtype": "success", "num_turns": 0, "is_error": False}
START: dict[str, Any] = {
    "type": "stream_event",
    "event": {"type": "message_start", "message": {"model": "m", "usage": {}}},
}
RESULT = {"type": "result", "subtype": "success", "num_turns": 1, "total_cost_usd": 0.1}


def lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def ack(frame: Mapping[str, Any], **response: Any) -> dict[str, Any]:
    body = {"subtype": "success", "request_id": frame["request_id"], "response": response}
    return {"type": "control_response", "response": body}


def shape(step: Step) -> list[tuple[str, list[str], bool | None]]:
    """(type, texts, shouldQuery) of the messages of a step."""
    return [
        (
            frame["type"],
            [block["text"] for block in frame["message"]["content"]],
            frame.get("shouldQuery"),
        )
        for frame in step.frames
    ]


def test_initialize() -> None:
    step = initialize("Be kind" * 100_000)
    (frame,) = step.frames
    assert frame["request"] == {"subtype": "initialize", "systemPrompt": "Be kind" * 100_000}
    assert step.expect is Expect.ACKS
    assert step.request_ids == {frame["request_id"]}


def test_initialize_names_the_server_of_the_tools() -> None:
    (frame,) = initialize("", "f0").frames
    assert frame["request"] == {"subtype": "initialize", "systemPrompt": "", "sdkMcpServers": ["f0"]}


def test_each_control_request_has_an_id_of_its_own() -> None:
    assert len({control("set_model")["request_id"] for _ in range(100)}) == 100


def test_a_question_alone() -> None:
    (step,) = conversation((), Q2)
    assert step.expect is Expect.TURN
    assert step.request_ids == frozenset()
    assert shape(step) == [("user", ["Q2", "more"], None)]


def test_a_conversation() -> None:
    steps = conversation((Q1, A1, Q2, A2), Q3)
    assert [step.expect for step in steps] == [Expect.INJECTED, Expect.INJECTED, Expect.TURN]
    assert [shape(step) for step in steps] == [
        [("user", ["Q1"], False)],
        [("assistant", ["A1"], None), ("user", ["Q2", "more"], False)],
        [("assistant", ["A2a", "A2b"], None), ("user", ["Q3"], None)],
    ]


def test_one_earlier_turn() -> None:
    steps = conversation((Q1, A1), Q3)
    assert [shape(step) for step in steps] == [
        [("user", ["Q1"], False)],
        [("assistant", ["A1"], None), ("user", ["Q3"], None)],
    ]


def test_a_conversation_as_text() -> None:
    (step,) = flattened((Q1, A1, Q2, A2), Q3)
    assert step.expect is Expect.TURN
    assert shape(step) == [
        (
            "user",
            ["User: Q1\n\nAssistant: A1\n\nUser: Q2\nmore\n\nAssistant: A2a\nA2b\n\nUser: Q3\n\nAssistant:"],
            None,
        )
    ]


def test_a_conversation_written_out() -> None:
    assert transcript_text((), Q3) == "User: Q3\n\nAssistant:"
    assert transcript_text((Q1, A1), Q2) == "User: Q1\n\nAssistant: A1\n\nUser: Q2\nmore\n\nAssistant:"


CALLED = Message("assistant", ("So", ToolUse("c1", "f", {"a": 1}), ToolUse("c2", "g", {})))
SEEN = Message("user", (ToolResult("c1", ("one", PNG)), ToolResult("c2", ()), "and", PDF))


def test_thoughts_are_not_written_out() -> None:
    thoughts = (Thinking("hm", "sig"), RedactedThinking("x"))
    assert transcript_text((Q1, Message("assistant", (*thoughts, *A1.blocks))), Q2) == transcript_text(
        (Q1, A1), Q2
    )


def test_calls_and_media_written_out() -> None:
    """The images and documents follow the text, in their order."""
    (step,) = flattened((Message("user", ("Look", PNG)), CALLED), SEEN)
    (frame,) = step.frames
    told, *media = frame["message"]["content"]
    assert told["text"] == (
        "User: Look\n[an image, below]\n\n"
        'Assistant: So\n[call c1 of f: {"a": 1}]\n[call c2 of g: {}]\n\n'
        "User: [result of call c1: one [an image, below]]\n[result of call c2: ]\nand\n"
        "[a document, below]\n\n"
        "Assistant:"
    )
    assert [block["type"] for block in media] == ["image", "document"]


def test_calls_and_media_as_they_are() -> None:
    steps = conversation((Q1, CALLED), SEEN)
    told = [frame["message"]["content"] for step in steps for frame in step.frames]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}}
    assert told[1:] == [
        [
            {"type": "text", "text": "So"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
        ],
        [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "one"}, image]},
            {"type": "tool_result", "tool_use_id": "c2", "content": []},
            {"type": "text", "text": "and"},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "cGRm"},
                "title": "a.pdf",
            },
        ],
    ]


def test_a_dialogue_needs_its_process_to_go_on_listening() -> None:
    assert not Dialogue(conversation((), Q1)).closes_input


def test_a_question_alone_as_text_is_the_question() -> None:
    (step,) = flattened((), Message("user", ("/cost", "x")))
    assert shape(step) == [("user", [" /cost", "x"], None)]


# The dialogue


def test_a_whole_turn() -> None:
    dialogue = Dialogue([initialize("S"), *conversation((Q1, A1), Q3)], TurnTranslator())
    (init,) = lines(dialogue.start())
    assert init["request"]["subtype"] == "initialize"
    assert dialogue.receive({"type": "system", "subtype": "init"}) == (b"", ())
    # A result that nothing waits for: another answer is due.
    assert dialogue.receive(INJECTED) == (b"", ())
    data, events = dialogue.receive(ack(init, models=[]))
    assert events == ()
    assert [(f["type"], f.get("shouldQuery")) for f in lines(data)] == [("user", False)]
    assert dialogue.receive({"type": "user"}) == (b"", ())
    data, events = dialogue.receive(INJECTED)
    assert [f["type"] for f in lines(data)] == ["assistant", "user"]
    assert events == ()
    assert not dialogue.done
    assert dialogue.receive(START) == (b"", (TurnStarted("m"),))
    data, events = dialogue.receive(RESULT)
    assert data == b""
    assert isinstance(events[0], TurnDone)
    assert dialogue.done
    assert dialogue.receive(RESULT) == (b"", ())
    assert dialogue.answers == [{"models": []}]


def test_frames_before_the_start_are_of_no_account() -> None:
    dialogue = Dialogue([initialize("")])
    assert dialogue.receive(RESULT) == (b"", ())
    assert dialogue.receive(ack({"request_id": "r0"})) == (b"", ())
    assert not dialogue.done


def test_a_step_goes_on_when_all_its_requests_are_acknowledged() -> None:
    first, second = control("set_model"), control("apply_flag_settings")
    dialogue = Dialogue([Step((first, second), Expect.ACKS), *conversation((), Q1)], TurnTranslator())
    dialogue.start()
    assert dialogue.receive(ack(second)) == (b"", ())
    # The same one again, and one of somebody else's.
    assert dialogue.receive(ack(second)) == (b"", ())
    assert dialogue.receive(ack({"request_id": "other"})) == (b"", ())
    data, _ = dialogue.receive(ack(first))
    assert [f["type"] for f in lines(data)] == ["user"]


def test_a_late_ack_moves_nothing() -> None:
    init = initialize("")
    dialogue = Dialogue([init, *conversation((Q1, A1), Q3)], TurnTranslator())
    dialogue.start()
    dialogue.receive(ack(init.frames[0]))
    assert dialogue.receive(ack(init.frames[0])) == (b"", ())
    refused = {"subtype": "error", "request_id": init.frames[0]["request_id"], "error": "late"}
    assert dialogue.receive({"type": "control_response", "response": refused}) == (b"", ())
    # The step that is due still is.
    data, _ = dialogue.receive(INJECTED)
    assert [f["type"] for f in lines(data)] == ["assistant", "user"]


def test_acks_beside_an_injected_message_are_taken_but_its_result_counts() -> None:
    request = control("set_model")
    (injected, asked) = conversation((Q1, A1), Q3)
    both = Step((request, *injected.frames), Expect.INJECTED)
    dialogue = Dialogue([both, asked], TurnTranslator())
    dialogue.start()
    assert dialogue.receive(ack(request, ok=1)) == (b"", ())
    assert dialogue.answers == [{"ok": 1}]
    data, _ = dialogue.receive(INJECTED)
    assert [f["type"] for f in lines(data)] == ["assistant", "user"]


def test_an_ack_without_an_answer_in_it() -> None:
    dialogue = Dialogue([initialize("")])
    (init,) = lines(dialogue.start())
    body = {"subtype": "success", "request_id": init["request_id"]}
    assert dialogue.receive({"type": "control_response", "response": body}) == (b"", ())
    assert dialogue.done
    assert dialogue.answers == [{}]


def test_a_refused_request_fails_the_turn() -> None:
    dialogue = Dialogue([initialize("")])
    (init,) = lines(dialogue.start())
    body = {"subtype": "error", "request_id": init["request_id"], "error": "unknown subtype"}
    with pytest.raises(CliFailed, match="refused a control message: unknown subtype"):
        dialogue.receive({"type": "control_response", "response": body})


@pytest.mark.parametrize("result", [{**INJECTED, "is_error": True}, {**INJECTED, "num_turns": 1}])
def test_an_earlier_message_that_is_answered_fails_the_turn(result: dict[str, Any]) -> None:
    dialogue = Dialogue(conversation((Q1, A1), Q3), TurnTranslator())
    dialogue.start()
    with pytest.raises(CliFailed, match="didn't take an earlier message"):
        dialogue.receive(result)


def test_what_the_process_asks_of_us_is_refused_at_any_time() -> None:
    question = {"type": "control_request", "request_id": "theirs", "request": {"subtype": "hook_callback"}}
    refusal = {
        "type": "control_response",
        "response": {"subtype": "error", "request_id": "theirs", "error": "not served"},
    }
    dialogue = Dialogue(conversation((), Q1), TurnTranslator())
    for then in (dialogue.start, lambda: dialogue.receive(START), lambda: dialogue.receive(RESULT)):
        data, events = dialogue.receive(question)
        assert (lines(data), events) == ([refusal], ())
        then()
    assert dialogue.done
    assert lines(dialogue.receive(question)[0]) == [refusal]


def asks(subtype: str, **fields: Any) -> dict[str, Any]:
    return {"type": "control_request", "request_id": "theirs", "request": {"subtype": subtype, **fields}}


def test_the_process_is_told_of_the_tools_at_any_time() -> None:
    listing = asks(
        "mcp_message", server_name="f1", message={"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
    )
    dialogue = Dialogue(conversation((), Q1), TurnTranslator(), (Tool("f", "does f", '{"type":"object"}'),))
    meta = {"anthropic/maxResultSizeChars": 500_000}
    told = {"name": "f", "description": "does f", "inputSchema": {"type": "object"}, "_meta": meta}
    answer = {"mcp_response": {"jsonrpc": "2.0", "id": 7, "result": {"tools": [told]}}}
    for then in (dialogue.start, lambda: dialogue.receive(START), lambda: dialogue.receive(RESULT)):
        data, events = dialogue.receive(listing)
        (line,) = lines(data)
        assert (line["type"], events) == ("control_response", ())
        assert line["response"] == {"subtype": "success", "request_id": "theirs", "response": answer}
        then()
    assert dialogue.done


@pytest.mark.parametrize(
    "frame",
    [
        asks("can_use_tool", tool_name="f", input={}),
        asks("mcp_message", server_name="f0", message={"id": 2, "method": "tools/call", "params": {}}),
    ],
)
def test_a_call_waits_for_ever(frame: dict[str, Any]) -> None:
    """Whatever was said, the CLI would ask the model again."""
    dialogue = Dialogue(conversation((), Q1), TurnTranslator(), (Tool("f", "", "{}"),))
    assert dialogue.receive(frame) == (b"", ())
    dialogue.start()
    assert dialogue.receive(frame) == (b"", ())


def test_a_failed_turn_raises_its_error() -> None:
    dialogue = Dialogue(conversation((), Q1), TurnTranslator())
    dialogue.start()
    failed = {**RESULT, "is_error": True, "api_error_status": 529, "result": "API Error: 529"}
    with pytest.raises(Overloaded):
        dialogue.receive(failed)
    assert not dialogue.done


@pytest.mark.parametrize("taken", [True, False])
def test_a_turn_that_is_cut_is_interrupted_once_and_ends_with_its_result(taken: bool) -> None:
    dialogue = Dialogue(conversation((), Q1), TurnTranslator())
    dialogue.start()
    dialogue.receive(START)
    text = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}
    delta = {"type": "stream_event", "event": text}
    assert dialogue.receive(delta) == (b"", (TextDelta("a"),))
    end = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {}}
    limit = {"type": "stream_event", "event": end}
    data, events = dialogue.receive(limit)
    (interrupt,) = lines(data)
    assert (interrupt["type"], interrupt["request"], events) == (
        *("control_request", {"subtype": "interrupt"}),
        (),
    )
    # The CLI goes on by itself; that is nobody's.
    for frame in (START, delta, limit):
        assert dialogue.receive(frame) == (b"", ())
    answer = ack(interrupt)
    if not taken:
        answer["response"] |= {"subtype": "error", "error": "nothing runs"}
    assert dialogue.receive(answer) == (b"", ())
    assert not dialogue.done
    data, events = dialogue.receive({**RESULT, "subtype": "error_during_execution", "is_error": True})
    assert data == b""
    (done,) = events
    assert isinstance(done, TurnDone) and done.stop_reason == "max_tokens"
    assert dialogue.done


@pytest.mark.parametrize("before", [[], ["Let me see."]])
def test_a_call_is_a_cut(before: list[str]) -> None:
    dialogue = Dialogue(conversation((), Q1), TurnTranslator())
    dialogue.start()
    frames = [START, *(line for words in before for line in block("text", text(words))), *call("f", "{}")]
    assert b"".join(dialogue.receive(frame)[0] for frame in frames) == b""
    (end, stop) = ending("tool_use")
    data, _ = dialogue.receive(end)
    assert [line["request"] for line in lines(data)] == [{"subtype": "interrupt"}]
    assert dialogue.receive(stop) == (b"", ())
    _, (done,) = dialogue.receive({**RESULT, "subtype": "error_during_execution", "is_error": True})
    assert isinstance(done, TurnDone) and done.stop_reason == "tool_use"


def test_without_a_translator_a_turn_gives_no_events() -> None:
    dialogue = Dialogue(conversation((), Q1))
    dialogue.start()
    assert dialogue.receive(START) == (b"", ())
    assert dialogue.receive(RESULT) == (b"", ())
