"""Chat requests to turns, turn events to answers."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from translate.chat import CONTINUE, PLACEHOLDERS, ChunkWriter, Head, completion, to_turn, usage, x_claude
from turns.errors import InvalidRequest, TurnError, UnsupportedParameter
from turns.model import (
    Message,
    StopReason,
    TextDelta,
    ThinkingDelta,
    TurnDone,
    TurnEvent,
    TurnRequest,
    TurnStarted,
    Usage,
)
from wire.chat import ChatRequest

HEAD = Head("chatcmpl-1", "gpt-4o", 1_700_000_000, "s")
OPENING = "(The conversation begins with the assistant's message.)"
COUNTS = Usage(1, 20, 300, 4000, 50)
FINISHES: list[tuple[StopReason, str]] = [
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"),
    ("tool_use", "tool_calls"),
    ("refusal", "content_filter"),
    ("other", "length"),
]


def msg(role: str, content: Any = None, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*texts: str) -> Message:
    return Message("user", texts)


def assistant(*texts: str) -> Message:
    return Message("assistant", texts)


def asked(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    body = {"messages": list(messages or [msg("user", "hi")]), **fields}
    return ChatRequest.model_validate_json(json.dumps(body))


def turn(*messages: dict[str, Any], **fields: Any) -> TurnRequest:
    request, _ = to_turn(asked(*messages, **fields), "t", default_model="dm", stream_mode="live")
    return request


def refusal(*messages: dict[str, Any], **fields: Any) -> TurnError:
    with pytest.raises(TurnError) as raised:
        turn(*messages, **fields)
    return raised.value


def done(reason: StopReason = "end_turn", **fields: Any) -> TurnDone:
    given = {"stop_reason": reason, "usage": COUNTS, "model": "claude-x", "cost_usd": 0.5, "duration_ms": 9}
    return TurnDone(**{**given, "engine": "spawn", **fields})


# Parameters


@pytest.mark.parametrize(
    ("asked_for", "effort", "thinking"),
    [
        (None, None, True),
        ("none", None, False),
        ("minimal", "low", True),
        ("low", "low", True),
        ("medium", "medium", True),
        ("high", "high", True),
        ("xhigh", "xhigh", True),
        ("max", "max", True),
    ],
)
def test_the_reasoning_effort(asked_for: str | None, effort: str | None, thinking: bool) -> None:
    made = turn(reasoning_effort=asked_for)
    assert (made.effort, made.thinking) == (effort, thinking)
    # It is honoured: there is nothing to say about it.
    assert made.notices == ()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"max_tokens": None, "max_completion_tokens": None}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        # The newer name wins.
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": 6, "max_completion_tokens": 5}, 5),
    ],
)
def test_the_output_limit(limits: dict[str, int | None], expected: int | None) -> None:
    made = turn(**limits)
    assert (made.max_output_tokens, made.notices) == (expected, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_tokens", value) for value in (0, -1, 1.5, "5", True)),
        *(("max_completion_tokens", value) for value in (0, -1, 1.5, "5", True)),
        *(("reasoning_effort", value) for value in ("", "hard", "LOW", 1, ["low"])),
    ],
)
def test_a_limit_or_an_effort_of_another_shape(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        asked(**{name: value})


# Messages


def test_one_question() -> None:
    assert turn() == TurnRequest("t", user("hi"), model="dm", buffered=True)


def test_a_conversation() -> None:
    made = turn(msg("system", "S"), msg("user", "1"), msg("assistant", "2"), msg("user", "3"))
    assert made == TurnRequest("t", user("3"), (user("1"), assistant("2")), "S", "dm", buffered=True)


def test_system_and_developer_messages_are_joined_wherever_they_are() -> None:
    made = turn(
        msg("system", "A"),
        msg("developer", [part("B"), part("C")]),
        msg("user", "1"),
        msg("system", " "),
        msg("assistant", "2"),
        msg("user", "3"),
        msg("system", "D"),
    )
    assert made.system == "A\n\nB\n\nC\n\nD"
    assert (made.history, made.question) == ((user("1"), assistant("2")), user("3"))


def test_neighbours_of_one_role_are_merged() -> None:
    made = turn(
        msg("user", "1"),
        msg("system", "S"),
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
    made = turn(msg("user", "1"), msg("assistant", " \n"), msg("user", ""), msg("user", "2"))
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
    assert turn(msg("user", [{**part("a"), "cache_control": {}}], name="Ann")).question == user("a")


@pytest.mark.parametrize(
    ("bad", "param"),
    [
        (msg("tool", "42", tool_call_id="c"), "messages[1]"),
        (msg("function", "42", name="f"), "messages[1]"),
        (msg("assistant", None, tool_calls=[{"id": "c"}]), "messages[1]"),
        (msg("assistant", None, function_call={"name": "f"}), "messages[1]"),
        (
            msg("user", [part("a"), {"type": "image_url", "image_url": {"url": "x"}}]),
            "messages[1].content[1]",
        ),
        (msg("user", [{"type": "input_audio"}]), "messages[1].content[0]"),
        (msg("user", [{"type": "file"}]), "messages[1].content[0]"),
        (msg("system", [{"type": "image_url"}]), "messages[1].content[0]"),
    ],
)
def test_what_is_not_supported(bad: dict[str, Any], param: str) -> None:
    error = refusal(msg("user", "1"), bad, msg("user", "2"))
    assert (type(error), error.param) == (UnsupportedParameter, param)


@pytest.mark.parametrize("kind", ["text", "refusal"])
def test_a_part_without_its_text(kind: str) -> None:
    error = refusal(msg("user", [{"type": kind}]))
    assert (type(error), error.param) == (InvalidRequest, "messages[0].content[0]")
    assert error.message == f"A part of type '{kind}' needs '{kind}'."


@pytest.mark.parametrize("content", ["", "  \n", None, [], [part("")], [part(" "), part("\t")]])
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_blank_last_message(role: str, content: Any) -> None:
    error = refusal(msg("user", "1"), msg(role, content))
    assert (type(error), error.param) == (InvalidRequest, "messages[1]")
    assert error.message == "The last message is blank: there is nothing to answer."


@pytest.mark.parametrize(
    "messages",
    [
        [msg("system", "S")],
        [msg("developer", "S"), msg("system", "S")],
        [msg("user", ""), msg("system", "S")],
    ],
)
def test_nothing_to_answer(messages: list[dict[str, Any]]) -> None:
    error = refusal(*messages)
    assert (type(error), error.param) == (InvalidRequest, "messages")
    assert "nothing to answer" in error.message


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
    messages = [msg(role, text) for role, text in pairs]
    try:
        made = turn(*messages)
    except InvalidRequest:
        return
    roles = [message.role for message in (*made.history, made.question)]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    texts = [text for message in (*made.history, made.question) for text in message.texts]
    assert all(text.strip() for text in texts)
    kept = [text for role, text in pairs if role in ("user", "assistant") and text.strip()]
    assert [text for text in texts if text not in (OPENING, CONTINUE)] == kept


# The rest of the request


@pytest.mark.parametrize("model", [None, *sorted(PLACEHOLDERS), " auto "])
def test_names_that_leave_the_model_to_us(model: str | None) -> None:
    assert turn(model=model).model == "dm"
    made, _ = to_turn(asked(model=model), "t", default_model=None, stream_mode="live")
    assert made.model is None


@pytest.mark.parametrize(
    ("given", "model"), [("opus", "opus"), (" sonnet[1m] ", "sonnet[1m]"), ("AUTO", "AUTO")]
)
def test_names_of_models(given: str, model: str) -> None:
    assert turn(model=given).model == model


@pytest.mark.parametrize(
    ("stream", "own", "setting", "buffered"),
    [
        (None, None, "live", True),
        (False, "live", "live", True),
        (True, None, "live", False),
        (True, None, "buffered", True),
        (True, "buffered", "live", True),
        (True, "live", "buffered", False),
    ],
)
def test_what_is_buffered(stream: bool | None, own: str | None, setting: str, buffered: bool) -> None:
    request = asked(stream=stream, stream_mode=own)
    made, _ = to_turn(request, "t", default_model=None, stream_mode=setting)
    assert made.buffered is buffered


@pytest.mark.parametrize("n", [None, 1])
def test_one_answer(n: int | None) -> None:
    assert turn(n=n).question == user("hi")


def test_several_answers() -> None:
    error = refusal(n=2)
    assert (type(error), error.param) == (UnsupportedParameter, "n")


def test_a_session() -> None:
    assert turn(session_id="s").session_id == "s"
    assert turn(session_id=None).session_id is None


def test_other_parameters_are_judged() -> None:
    _, ignored = to_turn(
        asked(seed=1, temperature=0.5, top_p=1, user="u"), "t", default_model=None, stream_mode="live"
    )
    assert ignored == ("seed", "temperature")
    assert refusal(logprobs=True).param == "logprobs"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"model": 5},
        {"stream": "yes"},
        {"stream": 1},
        {"stream_options": {"include_usage": 1}},
        {"n": 0},
        {"n": 1.5},
        {"n": True},
        {"session_id": ""},
        {"session_id": "x" * 257},
        {"session_id": 5},
        {"stream_mode": "fast"},
        {"metadata": []},
    ],
)
def test_fields_of_the_wrong_kind(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        asked(**fields)
    assert {error["loc"][0] for error in raised.value.errors()} == set(fields)


@pytest.mark.parametrize("length", [1, 256])
def test_session_names_of_any_sane_length(length: int) -> None:
    assert turn(session_id="é" * length).session_id == "é" * length


# Whole answers


def test_a_whole_answer() -> None:
    events: list[TurnEvent] = [
        *(TurnStarted("claude-x"), ThinkingDelta("hm"), TextDelta("Hel"), TextDelta("lo")),
        done(session="created", notices=("said",), retries=2),
    ]
    assert json.loads(completion(events, HEAD, {"k": "v"}).model_dump_json()) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 321,
            "completion_tokens": 4000,
            "total_tokens": 4321,
            "prompt_tokens_details": {"cached_tokens": 20},
            "completion_tokens_details": {"reasoning_tokens": 50},
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 300,
        },
        "system_fingerprint": None,
        "metadata": {"k": "v"},
        "x_claude": {
            "model": "claude-x",
            "cost_usd": 0.5,
            "duration_ms": 9,
            "retries": 2,
            "engine": "spawn",
            "session_id": "s",
            "session": "created",
            "notices": ["said"],
        },
    }


def test_an_answer_without_text() -> None:
    assert completion([done()], HEAD, None).choices[0].message.content == ""


def test_every_stop_reason_has_its_finish() -> None:
    assert {reason for reason, _ in FINISHES} == set(get_args(StopReason))


@pytest.mark.parametrize(("reason", "finish"), FINISHES)
def test_finish_reasons(reason: StopReason, finish: str) -> None:
    assert completion([done(reason)], HEAD, None).choices[0].finish_reason == finish
    (chunk,) = written([done(reason)])
    assert chunk["choices"][0]["finish_reason"] == finish


def test_a_turn_without_its_end_is_no_answer() -> None:
    with pytest.raises(ValueError, match="a turn without its end"):
        completion([TurnStarted("m"), TextDelta("cut")], HEAD, None)


def test_usage_of_nothing() -> None:
    assert set(
        usage(Usage()).model_dump(exclude={"prompt_tokens_details", "completion_tokens_details"}).values()
    ) == {0}


def test_a_cost_that_is_not_known() -> None:
    assert x_claude(done(cost_usd=None), HEAD).cost_usd is None


# Streams

TURN: list[TurnEvent] = [
    TurnStarted("claude-x"),
    ThinkingDelta("hm"),
    TextDelta("Hi"),
    TextDelta("!"),
    done(),
]
BASE = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1_700_000_000,
    "model": "gpt-4o",
    "system_fingerprint": None,
}


def written(
    events: list[TurnEvent], *, include_usage: bool = False, slice_chars: int | None = None
) -> list[Any]:
    writer = ChunkWriter(HEAD, include_usage=include_usage, slice_chars=slice_chars)
    return [json.loads(writer.encode(chunk)) for event in events for chunk in writer.chunks(event)]


def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]


def test_chunks() -> None:
    extra = x_claude(done(), HEAD).model_dump()
    assert written(TURN) == [
        {**BASE, "choices": choice({"role": "assistant", "content": ""})},
        {**BASE, "choices": choice({"content": "Hi"})},
        {**BASE, "choices": choice({"content": "!"})},
        {**BASE, "choices": choice({}, "stop"), "x_claude": extra},
    ]


def test_chunks_with_usage() -> None:
    extra = x_claude(done(), HEAD).model_dump()
    base = {**BASE, "usage": None}
    assert written(TURN, include_usage=True) == [
        {**base, "choices": choice({"role": "assistant", "content": ""})},
        {**base, "choices": choice({"content": "Hi"})},
        {**base, "choices": choice({"content": "!"})},
        {**base, "choices": choice({}, "stop")},
        {**base, "choices": [], "usage": usage(COUNTS).model_dump(), "x_claude": extra},
    ]


@pytest.mark.parametrize("slice_chars", [None, 1, 48])
def test_an_empty_delta_is_no_chunk(slice_chars: int | None) -> None:
    assert written([TextDelta("")], slice_chars=slice_chars) == []


def test_slices() -> None:
    chunks = written([TextDelta("abcdefg")], slice_chars=3)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["abc", "def", "g"]


@given(
    st.text(st.characters(codec="utf-8")) | st.text("\U0001f469\u200d\U0001f4bb\u00e9e\u0301 "),
    st.integers(1, 9),
)
def test_slices_join_to_the_text(text: str, size: int) -> None:
    pieces = [
        chunk["choices"][0]["delta"]["content"] for chunk in written([TextDelta(text)], slice_chars=size)
    ]
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)
    assert all(len(piece) == size for piece in pieces[:-1])


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_chunk_is_one_line(text: str) -> None:
    writer = ChunkWriter(HEAD, include_usage=False, slice_chars=None)
    (chunk,) = writer.chunks(TextDelta(text))
    assert not {b"\n", b"\r"} & {bytes([byte]) for byte in writer.encode(chunk)}
