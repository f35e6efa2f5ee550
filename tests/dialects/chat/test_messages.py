"""The messages of a chat as a system prompt and a conversation."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import (
    ApiBlock,
    Block,
    Document,
    Image,
    Message,
    RedactedThinking,
    Thinking,
    Thought,
    ToolResult,
    ToolUse,
    TurnRequest,
)
from claude_server.dialects.chat.messages import remote_images
from claude_server.dialects.chat.request import to_turn
from claude_server.dialects.conversation import BEGIN, CONTINUE
from tests.dialects.chat.asking import around, asked, assistant, msg, part, refusal, turn, user

OPENING = "(The conversation begins with the assistant's message.)"
PNG = Image("image/png", base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1").decode())
PNG_URL = f"data:image/png;base64,{PNG.data}"
IMAGE_PART = {"type": "image_url", "image_url": {"url": PNG_URL}}
PDF = Document(base64.b64encode(b"%PDF-1.4").decode(), "a.pdf")
PDF_PART = {
    "type": "file",
    "file": {"file_data": f"data:application/pdf;base64,{PDF.data}", "filename": "a.pdf"},
}


def test_one_question() -> None:
    assert turn() == TurnRequest("chatcmpl-t", user("hi"), model="dm", buffered=True, shows_thinking=True)


def test_a_conversation() -> None:
    made = turn(msg("system", "S"), msg("user", "1"), msg("assistant", "2"), msg("user", "3"))
    assert (made.system, made.question) == ("S", user("3"))
    assert made.history == (user("1"), assistant("2"))


def later(text: str) -> str:
    return f"<system-message>\n{text}\n</system-message>"


def test_system_and_developer_messages_that_lead_are_the_prompt() -> None:
    made = turn(msg("system", "A"), msg("developer", [part("B"), part("C")]), msg("user", "1"))
    assert (made.system, made.question, made.notices) == ("A\n\nB\n\nC", user("1"), ())


def test_later_system_messages_keep_their_place() -> None:
    """So the prompt doesn't change from turn to turn, and it stays clear what belongs to which step."""
    made = turn(
        msg("system", "A"),
        msg("user", "1"),
        msg("system", " "),
        msg("assistant", "2"),
        msg("developer", [part("B"), part("C")], name="guide"),
        msg("user", "3"),
        msg("assistant", "4"),
        msg("system", "D"),
    )
    assert made.system == "A"
    guide = later("guide: B\n\nguide: C")
    assert made.history == (user("1"), assistant("2"), user(guide, "3"), assistant("4"))
    assert made.question == user(later("D"))
    assert made.notices == (
        "system messages after the first others keep their place, as marked text of the user's",
    )


def test_a_system_message_between_calls_and_their_results_comes_after_these() -> None:
    calls = [
        msg("assistant", None, tool_calls=[{"id": name, "function": {"name": "f"}}]) for name in ("a", "b")
    ]
    made = turn(
        *(msg("user", "1"), calls[0], msg("system", "S"), calls[1]),
        *(msg("tool", "A", tool_call_id="a"), msg("tool", "B", tool_call_id="b"), msg("user", "2")),
    )
    assert made.history == (user("1"), assistant(ToolUse("a", "f", {}), ToolUse("b", "f", {})))
    assert made.question == user(ToolResult("a", ("A",)), ToolResult("b", ("B",)), later("S"), "2")


def test_neighbours_of_one_role_are_merged() -> None:
    made = turn(
        msg("user", "1"),
        msg("user", [part("2"), part("3")]),
        msg("assistant", "4"),
        msg("assistant", "5"),
        msg("user", "6"),
        msg("user", "7"),
    )
    assert made.history == (user("1", "2", "3"), assistant("4", "5"))
    assert made.question == user("6", "7")


def test_many_neighbours_are_merged() -> None:
    # Of ten times as many, copying what is there for each new one would take minutes.
    letters = "ab" * 10_000
    made = turn(*(msg("user", letter) for letter in letters))
    assert (made.history, made.question) == ((), user(*letters))


def test_a_blank_message_in_between_is_left_out_and_its_neighbours_meet() -> None:
    made = turn(msg("user", "1"), msg("assistant", " \n\ufeff"), msg("user", ""), msg("user", "2"))
    assert (made.history, made.question) == ((), user("1", "2"))


def test_text_is_passed_on_as_it_is() -> None:
    words = "  \n/clear @/etc/passwd \U0001f469\u200d\U0001f4bb\u0000 "
    assert turn(msg("user", words)).question == user(words)


def test_content_that_is_null_or_missing() -> None:
    made = turn(msg("user", "1"), msg("assistant", None), {"role": "assistant"}, msg("user", "2"))
    assert made.question == user("1", "2")


def test_refusals_are_text() -> None:
    part_of = {"type": "refusal", "refusal": "No."}
    made = turn(
        msg("user", "1"),
        msg("assistant", [part("Well."), part_of]),
        msg("assistant", refusal="Never."),
        msg("user", "2"),
    )
    assert made.history == (user("1"), assistant("Well.", "No.", "Never."))


def test_empty_lists_of_calls_are_no_calls() -> None:
    made = turn(msg("user", "1"), msg("assistant", "2", tool_calls=[], function_call=None), msg("user", "3"))
    assert made.history == (user("1"), assistant("2"))


def test_fields_of_a_message_that_we_do_not_know() -> None:
    assert turn(msg("user", [{**part("a"), "cache_control": {}}], weight=1)).question == user("a")


def test_names_are_told_in_front_of_the_text() -> None:
    made = turn(
        msg("system", "S", name="guide"),
        msg("user", [part("1"), IMAGE_PART], name="Ann"),
        msg("assistant", "2", name="Bot"),
        msg("user", "3", name="Bob"),
    )
    assert made.system == "guide: S"
    assert made.history == (user("Ann: 1", PNG), assistant("2"))
    assert made.question == user("Bob: 3")


def test_what_a_tool_gives_may_hold_a_pdf() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    made = turn(
        msg("user", "1"), msg("assistant", None, tool_calls=calls), msg("tool", [PDF_PART], tool_call_id="c")
    )
    assert made.question.blocks == (ToolResult("c", (PDF,)),)


TEXT, ENCRYPTED = {"type": "reasoning.text"}, {"type": "reasoning.encrypted"}


@pytest.mark.parametrize(
    ("details", "thoughts"),
    [
        (
            [
                {**TEXT, "text": "hm", "signature": "s1", "format": "anthropic-claude-v1", "index": 0},
                {**ENCRYPTED, "data": "x", "format": "anthropic-claude-v1", "index": 1},
                {**TEXT, "text": "", "signature": "s2", "index": 2},
            ],
            (Thinking("hm", "s1"), RedactedThinking("x"), Thinking("", "s2")),
        ),
        # The pieces of a stream, as they came.
        (
            [
                {**TEXT, "text": "h"},
                {**TEXT, "text": "m"},
                {**TEXT, "signature": "s1"},
                {**TEXT, "text": "?"},
            ],
            (Thinking("hm", "s1"),),
        ),
        (
            [{**TEXT, "text": "hm", "signature": "s1", "format": "anthropic-claude-v1" * 3}],
            (Thinking("hm", "s1"),),
        ),
        ([{**TEXT, "text": "hm"}, {**TEXT, "text": "?", "signature": " "}, {**ENCRYPTED, "data": ""}], ()),
        ([{**TEXT, "text": "hm", "signature": "s", "format": "openai-responses-v1"}], ()),
        ([{"type": "reasoning.summary", "summary": "hm"}, "text", None, {"type": 1}, {}], ()),
        ({"type": "reasoning.text"}, ()),
        ("hm", ()),
        (None, ()),
        ([{**TEXT, "text": ["hm"], "signature": "s"}, {**ENCRYPTED, "data": {}}], (Thinking("", "s"),)),
    ],
)
def test_thinking_that_is_sent_back(details: object, thoughts: tuple[Thought, ...]) -> None:
    made = turn(msg("user", "1"), msg("assistant", "2", reasoning_details=details), msg("user", "3"))
    assert made.history == (user("1"), Message("assistant", (*thoughts, "2")))


def test_thinking_that_is_sent_back_in_parts() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "unsigned"},
    ]
    details = [{**TEXT, "text": "the same again", "signature": "s"}]
    message = msg("assistant", [*parts, part("2")], reasoning_details=details)
    made = turn(msg("user", "1"), message, msg("user", "3"))
    assert made.history == (
        user("1"),
        Message("assistant", (Thinking("hm", "s"), RedactedThinking("x"), "2")),
    )


def test_thoughts_that_lead_nowhere_are_left_out() -> None:
    details = [{**TEXT, "text": "hm", "signature": "s"}]
    alone = [msg("assistant", text, reasoning_details=details) for text in ("", None)]
    made = turn(msg("user", "1"), *alone, msg("user", "2"), msg("user", "3", reasoning_details=details))
    assert (made.history, made.question) == ((), Message("user", ("1", "2", "3")))


def test_calls_results_and_sources_in_anthropics_shapes() -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": [part("no")]}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG.data}}
    found = {"type": "search_result", "source": "s", "title": "T", "content": [part("a")]}
    tool = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}
    made = turn(
        msg("user", "1"),
        msg("assistant", [part("2"), use]),
        msg("user", [part("3"), result, image, found]),
        tools=[tool],
        tool_choice={"type": "tool", "name": "f"},
    )
    assert made.history[1] == assistant("2", ToolUse("toolu_1", "f", {"a": 1}))
    answer, *said, last = made.question.blocks
    assert answer == ToolResult("toolu_1", ("no",), is_error=True) and said == ["3", PNG]
    assert isinstance(last, ApiBlock) and json.loads(last.json) == found
    assert (made.tools[0].name, made.tools[0].description, made.tool_choice.name) == ("f", "d", "f")
    for word, mode in (("any", "any"), ("auto", "auto"), ("none", "none")):
        assert turn(tools=[tool], tool_choice={"type": word}).tool_choice.mode == mode
    with pytest.raises(InvalidRequest):
        turn(msg("assistant", [{**use, "input": 3}]), msg("user", "2"))


@pytest.mark.parametrize(
    ("bad", "param"),
    [
        (msg("user", [{"type": "input_audio"}]), "messages[1].content[0]"),
        (msg("user", [part("a"), {"type": "video"}]), "messages[1].content[1]"),
        (msg("user", [{"type": "file", "file": {"file_id": "file-1"}}]), "messages[1].content[0].file"),
        (
            msg("user", [part("a"), {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]),
            "messages[1].content[1].image_url",
        ),
        (msg("system", [part("a"), IMAGE_PART]), "messages[1]"),
        (msg("developer", [PDF_PART]), "messages[1]"),
        (msg("assistant", [IMAGE_PART]), "messages[1]"),
        (msg("user", [{"type": "thinking", "thinking": "hm"}]), "messages[1].content[0]"),
    ],
)
def test_what_is_not_supported(bad: dict[str, Any], param: str) -> None:
    error = refusal(msg("user", "1"), bad, msg("user", "2"))
    assert (type(error), error.param) == (UnsupportedParameter, param)


@pytest.mark.parametrize(
    ("bad", "param"),
    [
        ({"type": "image_url"}, ".image_url"),
        ({"type": "image_url", "image_url": "x"}, ".image_url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, ".image_url"),
        ({"type": "file"}, ".file"),
        ({"type": "file", "file": {}}, ".file"),
        ({"type": "file", "file": {"file_data": "JVBERi0="}}, ".file.file_data"),
    ],
)
def test_a_part_that_is_broken(bad: dict[str, Any], param: str) -> None:
    error = refusal(msg("user", [part("a"), bad]))
    assert (type(error), error.param) == (InvalidRequest, f"messages[0].content[1]{param}")


def test_what_is_no_call_is_refused_by_the_shape() -> None:
    with pytest.raises(ValidationError):
        asked(msg("assistant", None, tool_calls=[{"id": "c"}]))


# Images and files


@pytest.mark.parametrize("given", [{"url": PNG_URL}, {"url": PNG_URL, "detail": "high"}, PNG_URL])
def test_an_image(given: Any) -> None:
    made = turn(
        msg("user", [part("1"), {"type": "image_url", "image_url": given}]),
        msg("assistant", "2"),
        msg("user", [IMAGE_PART]),
    )
    assert (made.history, made.question) == ((user("1", PNG), assistant("2")), user(PNG))


def test_a_pdf() -> None:
    assert turn(msg("user", [PDF_PART, part("a")])).question == user(PDF, "a")


def test_remote_images_are_those_that_were_fetched() -> None:
    url = "HTTPS://Example.com/a.png"
    remote = {"type": "image_url", "image_url": {"url": url}}
    request = asked(msg("user", [remote, IMAGE_PART]), msg("assistant", [part("x")]), msg("user", [remote]))
    assert remote_images(request.messages) == {url: "messages[0].content[0].image_url"}
    made, _ = to_turn(request, around(images={url: PNG}))
    assert made.history[0] == user(PNG, PNG) and made.question == user(PNG)


# Calls and their results


def called(*calls: tuple[str, str], content: Any = None) -> dict[str, Any]:
    """An answer that calls functions: (id, name) of each, without arguments."""
    made = [{"id": id, "type": "function", "function": {"name": name, "arguments": ""}} for id, name in calls]
    return msg("assistant", content, tool_calls=made)


def result(id: str, content: Any = "r") -> dict[str, Any]:
    return msg("tool", content, tool_call_id=id)


def use(id: str, name: str = "f", **arguments: Any) -> ToolUse:
    return ToolUse(id, name, arguments)


NOTHING = ("No result was given.",)
Q = msg("user", "q")


@pytest.mark.parametrize(
    ("messages", "blocks"),
    [
        pytest.param(
            [called(("a", "f"), ("b", "g"), content="So."), result("b", "2"), result("a", "1")],
            ["So.", use("a"), use("b", "g"), ToolResult("b", ("2",)), ToolResult("a", ("1",))],
            id="several",
        ),
        pytest.param(
            [called(("a", "f")), msg("user", "and"), result("a"), msg("user", "so?")],
            [use("a"), ToolResult("a", ("r",)), "and", "so?"],
            id="a text before the result",
        ),
        pytest.param([called(("a", "f"))], [use("a"), ToolResult("a", NOTHING)], id="no result, at the end"),
        pytest.param(
            [called(("a", "f"), ("b", "f")), result("b"), msg("assistant", "ok"), msg("user", "x")],
            [use("a"), use("b"), ToolResult("b", ("r",)), ToolResult("a", NOTHING), "ok", "x"],
            id="a result is missing",
        ),
        pytest.param(
            [called(("a", "f")), msg("user", "never mind")],
            [use("a"), ToolResult("a", NOTHING), "never mind"],
            id="no result but a text",
        ),
        pytest.param(
            [result("zz", "lost"), result("y", [part("l"), IMAGE_PART])],
            ["[Result of the tool call zz] lost", "[Result of the tool call y] l", PNG],
            id="results of nothing",
        ),
        pytest.param(
            [called(("a", "f")), result("a", "1"), result("a", "2")],
            [use("a"), ToolResult("a", ("1",)), "[Result of the tool call a] 2"],
            id="a result twice",
        ),
        pytest.param(
            [called(("a", "f")), result("a", "1"), called(("a", "f")), result("a", "2")],
            [use("a"), ToolResult("a", ("1",)), use("a_2"), ToolResult("a_2", ("2",))],
            id="an id that begins anew with each answer",
        ),
        pytest.param(
            [called(("a", "f"), ("a", "g")), result("a", "1"), result("a", "2")],
            [use("a"), use("a_2", "g"), ToolResult("a", ("1",)), ToolResult("a_2", ("2",))],
            id="one id for two calls",
        ),
        pytest.param(
            [called(("", "f"), ("", "g")), result("", "1"), result("", "2")],
            [use("call"), use("call_2", "g"), ToolResult("call", ("1",)), ToolResult("call_2", ("2",))],
            id="no ids",
        ),
        pytest.param(
            [called(("fc|1.é", "f")), result("fc|1.é")],
            [use("fc_1__"), ToolResult("fc_1__", ("r",))],
            id="an id that the API wouldn't take",
        ),
        pytest.param(
            [called(("a|", "f"), ("a.", "f")), result("a."), result("a|", "s")],
            [use("a_"), use("a__2"), ToolResult("a__2", ("r",)), ToolResult("a_", ("s",))],
            id="ids that become one",
        ),
        pytest.param(
            [called(("a", "f")), msg("assistant", " "), result("a")],
            [use("a"), ToolResult("a", ("r",))],
            id="a blank answer in between",
        ),
        pytest.param(
            [called(("a", "f")), called(("b", "g")), result("a", "1"), result("b", "2")],
            [use("a"), use("b", "g"), ToolResult("a", ("1",)), ToolResult("b", ("2",))],
            id="calls in answers of their own",
        ),
        pytest.param(
            [called(("a", "f")), msg("assistant", "I look."), result("a")],
            [use("a"), "I look.", ToolResult("a", ("r",))],
            id="a text after the call",
        ),
        pytest.param(
            [called(("a", "f")), result("a", None)], [use("a"), ToolResult("a", ())], id="an empty result"
        ),
        pytest.param(
            [called(("a", "f")), result("a", [part("x"), IMAGE_PART, part("y")])],
            [use("a"), ToolResult("a", ("x", PNG, "y"))],
            id="a result in parts",
        ),
        pytest.param(
            [
                msg("assistant", None, function_call={"name": "f", "arguments": "{}"}),
                msg("function", "r", name="f"),
            ],
            [use("call_f"), ToolResult("call_f", ("r",))],
            id="the older form",
        ),
        pytest.param(
            [called(("a", "f"), ("b", "g")), msg("function", "2", name="g"), result("f", "1")],
            [use("a"), use("b", "g"), ToolResult("b", ("2",)), ToolResult("a", ("1",))],
            id="results by the function's name",
        ),
        pytest.param(
            [msg("function", "r", name="f")],
            ["[Result of the tool call f] r"],
            id="the older form, of nothing",
        ),
    ],
)
def test_calls_and_results(messages: list[dict[str, Any]], blocks: list[Block]) -> None:
    made = turn(Q, *messages)
    said = [block for message in (*made.history, made.question) for block in message.blocks]
    assert said == ["q", *blocks]
    assert_whole((*made.history, made.question))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", {}),
        ('{"a": [1]}', {"a": [1]}),
        ("[1]", {"arguments": [1]}),
        ("null", {"arguments": None}),
        ("{oops", {"arguments": "{oops"}),
        # Python would read these, and write what the CLI can't read.
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
        ('{"a": [1e999]}', {"arguments": '{"a": [1e999]}'}),
        ("-Infinity", {"arguments": "-Infinity"}),
        ("[" * 100_000, {"arguments": "[" * 100_000}),
        ('{"a":' * 300 + "1" + "}" * 300, {"arguments": '{"a":' * 300 + "1" + "}" * 300}),
    ],
)
def test_arguments_as_a_model_wrote_them(written: str, told: dict[str, Any]) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": written}}]
    history = turn(Q, msg("assistant", None, tool_calls=calls), result("a")).history
    assert history[1] == assistant(ToolUse("a", "f", told))


def test_in_a_session_the_calls_were_made_before() -> None:
    made = turn(result("a|1", "r"), session_id="s")
    assert made.question == user(ToolResult("a_1", ("r",)))


@pytest.mark.parametrize("id", ["", "x", None])
def test_many_calls_of_one_id(id: str | None) -> None:
    """Also without ids; the time is in the number of calls, not in its square."""
    number = 20_000
    calls = called(*((f"c{i}" if id is None else id, "f") for i in range(number)))
    made = turn(Q, calls, *(result(f"c{i}" if id is None else id, str(i)) for i in range(number)))
    results = [block for block in made.question.blocks if isinstance(block, ToolResult)]
    assert [block.blocks for block in results] == [(str(i),) for i in range(number)]
    assert_whole((*made.history, made.question))


def assert_whole(messages: tuple[Message, ...]) -> None:
    """What the API wants: roles in turn, ids used once, and each call's result at the head of the next
    message."""
    roles = [message.role for message in messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    ids = [block.id for message in messages for block in message.blocks if isinstance(block, ToolUse)]
    assert len(set(ids)) == len(ids)
    before: list[str] = []
    for message in messages:
        results = [block.id for block in message.blocks if isinstance(block, ToolResult)]
        assert sorted(results) == sorted(before)
        assert all(isinstance(block, ToolResult) for block in message.blocks[: len(results)])
        before = [block.id for block in message.blocks if isinstance(block, ToolUse)]


IDS = st.sampled_from(["a", "a.", "b", ""])
PIECES = st.one_of(
    st.builds(msg, st.sampled_from(["system", "user", "assistant"]), st.sampled_from(["x", " ", None])),
    st.builds(lambda ids: called(*((id, "f") for id in ids)), st.lists(IDS, min_size=1, max_size=3)),
    st.builds(result, IDS),
    st.builds(lambda name: msg("function", "r", name=name), st.sampled_from(["f", "a"])),
)


@given(st.lists(PIECES, max_size=8))
def test_any_calls_and_results_become_what_the_api_wants(messages: list[dict[str, Any]]) -> None:
    made = turn(*messages, Q)
    assert_whole((*made.history, made.question))
    told = [block for message in (*made.history, made.question) for block in message.blocks]
    results = [block.blocks for block in told if isinstance(block, ToolResult) and block.blocks != NOTHING]
    orphans = [block for block in told if isinstance(block, str) and block.startswith("[Result of")]
    asked_for = [message for message in messages if message["role"] in ("tool", "function")]
    assert len(results) + len(orphans) == len(asked_for)


# What is blank


@pytest.mark.parametrize("kind", ["text", "refusal"])
def test_a_part_without_its_text(kind: str) -> None:
    error = refusal(msg("user", [{"type": kind}]))
    assert (type(error), error.param) == (InvalidRequest, "messages[0].content[0]")
    assert error.message == f"A part of type '{kind}' needs '{kind}'."


@pytest.mark.parametrize(
    "content", ["", "  \n", "\ufeff", " \ufeff", None, [], [part("")], [part(" "), part("\t")]]
)
def test_a_blank_last_message(content: Any) -> None:
    """It is left out like any blank text; what stands before it is the question, or asks for more."""
    assert turn(msg("user", "1"), msg("user", content)).question == user("1")
    made = turn(msg("user", "1"), msg("assistant", "2"), msg("user", content))
    assert (made.history, made.question) == ((user("1"), assistant("2")), user(CONTINUE))
    assert made.notices == ("the messages end with the assistant's: 'Please continue.' was asked",)


@pytest.mark.parametrize(
    ("messages", "system"),
    [
        ([msg("system", "S")], "S"),
        ([msg("developer", "S"), msg("system", "T")], "S\n\nT"),
        ([msg("user", "")], ""),
        ([msg("system", "S"), msg("user", " ")], "S"),
    ],
)
def test_nothing_of_the_users(messages: list[dict[str, Any]], system: str) -> None:
    """The smallest example of OpenAI's own has a developer message only."""
    made = turn(*messages)
    assert (made.system, made.history, made.question) == (system, (), user("Please go ahead."))
    assert made.notices == ("the messages hold nothing of the user's: 'Please go ahead.' was asked",)


def test_a_blank_answer_at_the_end_is_left_out() -> None:
    """Some clients send the one that they are about to fill."""
    assert turn(msg("user", "1"), msg("assistant", "")).question == user("1")


def test_a_list_that_ends_with_the_assistants_message() -> None:
    made = turn(msg("user", "1"), msg("assistant", "2"))
    assert (made.history, made.question) == ((user("1"), assistant("2")), user("Please continue."))
    assert made.notices == ("the messages end with the assistant's: 'Please continue.' was asked",)


def test_a_list_that_begins_with_the_assistants_message() -> None:
    made = turn(msg("system", "S"), msg("assistant", "1"), msg("user", "2"))
    assert (made.history, made.question) == ((user(OPENING), assistant("1")), user("2"))
    assert made.notices == ("the messages begin with the assistant's: a line of the user was put before it",)


def test_only_the_assistants_message() -> None:
    made = turn(msg("assistant", "1"))
    assert (made.history, made.question) == ((user(OPENING), assistant("1")), user(CONTINUE))
    assert len(made.notices) == 2


ROLES = st.sampled_from(["system", "developer", "user", "assistant"])
MESSAGES = st.lists(st.tuples(ROLES, st.text("ab \n", max_size=3)), min_size=1, max_size=8)


@given(MESSAGES)
def test_a_conversation_always_alternates_from_user_to_user(pairs: list[tuple[str, str]]) -> None:
    made = turn(*(msg(role, text) for role, text in pairs))
    roles = [message.role for message in (*made.history, made.question)]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    texts = [text for message in (*made.history, made.question) for text in message.texts]
    assert all(text.strip() for text in texts)
    leading = list(itertools.takewhile(lambda pair: pair[0] in ("system", "developer"), pairs))
    kept = [
        text if role in ("user", "assistant") else later(text)
        for role, text in pairs[len(leading) :]
        if text.strip()
    ]
    assert [text for text in texts if text not in (OPENING, CONTINUE, BEGIN)] == kept
