"""Turn events as a chat's answer, whole or in chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming._deltas import accumulate_delta

from claude_server.core.model import (
    BlockEnded,
    RedactedThinking,
    StopReason,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnDone,
    TurnEvent,
    TurnStarted,
    Usage,
)
from claude_server.dialects.chat.answer import AnswerContext, ChunkWriter, completion
from claude_server.dialects.counts import usage
from claude_server.dialects.x_claude import x_claude
from tests import conformance

HEAD = AnswerContext("chatcmpl-1", "gpt-4o", 1_700_000_000, "s")
COUNTS = Usage(1, 20, 300, 4000, 50)
FINISHES: list[tuple[StopReason, str]] = [
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"),
    ("max_turns", "length"),
    ("tool_use", "tool_calls"),
    ("refusal", "content_filter"),
    ("other", "length"),
]


def done(reason: StopReason = "end_turn", **fields: Any) -> TurnDone:
    given = {"stop_reason": reason, "usage": COUNTS, "model": "claude-x", "cost_usd": 0.5, "duration_ms": 9}
    return TurnDone(**{**given, "engine": "spawn", **fields})


# Whole answers


def test_a_whole_answer() -> None:
    events: list[TurnEvent] = [
        *(TurnStarted("claude-x"), ThinkingDelta("hm"), TextDelta("Hel"), TextDelta("lo")),
        done(session="created", notices=("said",), retries=2),
    ]
    assert json.loads(completion([events], HEAD, {"k": "v"}).model_dump_json()) == {
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
            "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 300},
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
            "api_requests": 1,
            "engine": "spawn",
            "session_id": "s",
            "session": "created",
            "notices": ["said"],
        },
    }


def test_an_answer_without_text() -> None:
    assert completion([[done()]], HEAD, None).choices[0].message.content == ""


def test_every_stop_reason_has_its_finish() -> None:
    assert {reason for reason, _ in FINISHES} == set(get_args(StopReason))


@pytest.mark.parametrize(("reason", "finish"), FINISHES)
def test_finish_reasons(reason: StopReason, finish: str) -> None:
    assert completion([[done(reason)]], HEAD, None).choices[0].finish_reason == finish
    *_, chunk = written([done(reason)])
    assert chunk["choices"][0]["finish_reason"] == finish


def test_a_turn_without_its_end_is_no_answer() -> None:
    with pytest.raises(ValueError, match="a turn without its end"):
        completion([[TurnStarted("m"), TextDelta("cut")]], HEAD, None)


def test_usage_of_nothing() -> None:
    assert set(
        usage([done(usage=Usage())])
        .model_dump(exclude={"prompt_tokens_details", "completion_tokens_details"})
        .values()
    ) == {0}


def test_a_cost_that_is_not_known() -> None:
    assert x_claude([done(cost_usd=None)]).cost_usd is None
    assert x_claude([done(), done(cost_usd=None)]).cost_usd is None
    # 0.30000000000000004 by themselves.
    assert x_claude([done(cost_usd=0.1), done(cost_usd=0.2)]).cost_usd == 0.3


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
    events: Sequence[TurnEvent | tuple[int, TurnEvent]],
    context: AnswerContext = HEAD,
    *,
    include_usage: bool = False,
    slice_chars: int | None = None,
) -> list[Any]:
    """The chunks of events, which are of the first answer where nothing else is said."""
    writer = ChunkWriter(context, include_usage=include_usage, slice_chars=slice_chars)
    numbered = [event if isinstance(event, tuple) else (0, event) for event in events]
    return [json.loads(writer.encode(chunk)) for pair in numbered for chunk in writer.chunks(*pair)]


def deltas(chunks: Sequence[Any]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in chunks]


def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]


def test_chunks() -> None:
    extra = x_claude([done()], "s").model_dump()
    assert written(TURN) == [
        {**BASE, "choices": choice({"role": "assistant", "content": ""})},
        {**BASE, "choices": choice({"content": "Hi"})},
        {**BASE, "choices": choice({"content": "!"})},
        {**BASE, "choices": choice({}, "stop"), "x_claude": extra},
    ]


def test_chunks_with_usage() -> None:
    extra = x_claude([done()], "s").model_dump()
    base = {**BASE, "usage": None}
    assert written(TURN, include_usage=True) == [
        {**base, "choices": choice({"role": "assistant", "content": ""})},
        {**base, "choices": choice({"content": "Hi"})},
        {**base, "choices": choice({"content": "!"})},
        {**base, "choices": choice({}, "stop")},
        {**base, "choices": [], "usage": usage([done()]).model_dump(), "x_claude": extra},
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
    (chunk,) = writer.chunks(0, TextDelta(text))
    assert not {b"\n", b"\r"} & {bytes([byte]) for byte in writer.encode(chunk)}


# What thinks, calls or refuses

THOUGHTS: list[TurnEvent] = [
    *(TurnStarted("m"), ThinkingDelta("h"), ThinkingDelta("m"), TextDelta("Hi"), done()),
]
CALLS: list[TurnEvent] = [
    *(
        TurnStarted("m"),
        TextDelta("So."),
        ToolCallStarted("c1", "f"),
        ToolCallDelta('{"a"'),
        ToolCallDelta(": 1}"),
    ),
    *(ToolCallStarted("c2", "g"), ToolCallStarted("c3", "h"), done("tool_use")),
]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_goes_under_one_name(name: Any) -> None:
    context = replace(HEAD, reasoning=name)
    message = json.loads(completion([THOUGHTS], context, None).model_dump_json())["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Hi", "refusal": None, name: "hm"}
    assert deltas(written(THOUGHTS, context))[1:3] == [{name: "h"}, {name: "m"}]


def test_thinking_that_is_left_out() -> None:
    message = completion([THOUGHTS], HEAD, None).choices[0].message
    assert json.loads(message.model_dump_json()) == {"role": "assistant", "content": "Hi", "refusal": None}
    assert deltas(written(THOUGHTS)) == [{"role": "assistant", "content": ""}, {"content": "Hi"}, {}]


DETAILED: list[TurnEvent] = [
    *(TurnStarted("m"), ThinkingDelta("h"), ThinkingDelta("m"), BlockEnded(Thinking("hm", "s1"))),
    *(BlockEnded(RedactedThinking("ZGF0YQ==")), BlockEnded(Thinking("", "s2"))),
    *(TextDelta("Hi"), BlockEnded(), ThinkingDelta("?"), BlockEnded(Thinking("?", "s3"))),
    *(ToolCallStarted("c1", "f"), BlockEnded(), done("tool_use")),
]
CLAUDE = {"format": "anthropic-claude-v1"}
DETAILS = [
    {"type": "reasoning.text", "text": "hm", "signature": "s1", **CLAUDE, "index": 0},
    {"type": "reasoning.encrypted", "data": "ZGF0YQ==", **CLAUDE, "index": 1},
    {"type": "reasoning.text", "text": "", "signature": "s2", **CLAUDE, "index": 2},
    {"type": "reasoning.text", "text": "?", "signature": "s3", **CLAUDE, "index": 3},
]


def test_thinking_that_can_be_sent_back() -> None:
    context = replace(HEAD, reasoning="reasoning_content", details=True)
    (choice,) = json.loads(completion([DETAILED], context, None).model_dump_json())["choices"]
    assert choice["message"]["reasoning_details"] == DETAILS
    assert choice["message"]["reasoning_content"] == "hm?"
    told = [delta for delta in deltas(written(DETAILED, context)) if "reasoning_details" in delta]
    assert told[:3] == [
        {
            "reasoning_content": "h",
            "reasoning_details": [{"type": "reasoning.text", "text": "h", **CLAUDE, "index": 0}],
        },
        {
            "reasoning_content": "m",
            "reasoning_details": [{"type": "reasoning.text", "text": "m", "index": 0}],
        },
        {"reasoning_details": [{"type": "reasoning.text", "signature": "s1", "index": 0}]},
    ]
    # As OpenAI's SDK puts the pieces of a stream together.
    whole: dict[object, object] = {}
    for delta in told:
        accumulate_delta(whole, delta)
    assert whole["reasoning_details"] == DETAILS


def test_details_are_left_out_where_nobody_wants_them() -> None:
    context = replace(HEAD, reasoning="reasoning_content")
    assert b"reasoning_details" not in completion([DETAILED], context, None).model_dump_json().encode()
    assert not any("reasoning_details" in delta for delta in deltas(written(DETAILED, context)))


def called(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_calls() -> None:
    """One without arguments has an empty object of them: clients parse what they get."""
    (choice,) = json.loads(completion([CALLS], HEAD, None).model_dump_json())["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "So.")
    assert choice["message"]["tool_calls"] == [
        *(called("c1", "f", '{"a": 1}'), called("c2", "g", "{}"), called("c3", "h", "{}")),
    ]


def test_calls_alone_have_no_content() -> None:
    message = completion([[CALLS[0], *CALLS[2:]]], HEAD, None).choices[0].message
    assert message.content is None and message.tool_calls


def test_calls_in_chunks() -> None:
    chunks = written(CALLS)
    assert deltas(chunks)[2:-1] == [
        {"tool_calls": [call]}
        for call in (
            {"index": 0, **called("c1", "f", "")},
            {"index": 0, "function": {"arguments": '{"a"'}},
            {"index": 0, "function": {"arguments": ": 1}"}},
            {"index": 1, **called("c2", "g", "")},
            {"index": 1, "function": {"arguments": "{}"}},
            {"index": 2, **called("c3", "h", "")},
            {"index": 2, "function": {"arguments": "{}"}},
        )
    ]
    assert chunks[-1]["choices"] == choice({}, "tool_calls")


def test_arguments_in_slices() -> None:
    chunks = written([ToolCallStarted("c", "f"), ToolCallDelta('{"a": 1}')], slice_chars=3)
    pieces = [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas(chunks)]
    assert pieces == ["", '{"a', '": ', "1}"]


OLD = replace(HEAD, functions=True)
OLD_CALL: list[TurnEvent] = [
    TurnStarted("m"),
    ToolCallStarted("c1", "f"),
    ToolCallDelta("{ }"),
    done("tool_use"),
]


def test_a_call_in_the_older_form() -> None:
    (choice,) = json.loads(completion([OLD_CALL], OLD, None).model_dump_json())["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"] == {
        **{"role": "assistant", "content": None, "refusal": None},
        "function_call": {"name": "f", "arguments": "{ }"},
    }
    chunks = written(OLD_CALL, OLD)
    assert deltas(chunks)[1:] == [
        *({"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{ }"}}, {}),
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    ("texts", "structured", "content", "refusal"),
    [
        # Words of refusal are an answer like any other; only the finish reason tells.
        (["I", " won't."], False, "I won't.", None),
        ([], False, None, "The model refused to answer."),
        # A client that parses the content must not get words.
        (["I", " won't."], True, None, "I won't."),
        ([], True, None, "The model refused to answer."),
    ],
)
def test_a_refusal(texts: list[str], structured: bool, content: str | None, refusal: str | None) -> None:
    context = replace(HEAD, structured=structured)
    events: list[TurnEvent] = [TurnStarted("m"), *map(TextDelta, texts), done("refusal")]
    (made,) = completion([events], context, None).choices
    assert (made.finish_reason, made.message.content, made.message.refusal) == (
        *("content_filter", content),
        refusal,
    )
    chunks = written(events, context)
    told = [delta["refusal"] for delta in deltas(chunks) if "refusal" in delta]
    assert told == ([] if refusal is None else ["The model refused to answer."])
    assert chunks[-1]["choices"] == choice({}, "content_filter")


# Several answers

TWO = replace(HEAD, choices=2)
ENDS = [
    done(cost_usd=0.5, duration_ms=9, retries=1, api_requests=1, notices=("a", "b")),
    done("max_tokens", cost_usd=0.25, duration_ms=20, retries=0, api_requests=3, notices=("b", "c")),
]


def test_several_answers_are_counted_together() -> None:
    made = completion([[TextDelta("a"), ENDS[0]], [TextDelta("b"), ENDS[1]]], TWO, None)
    assert [(c.index, c.message.content, c.finish_reason) for c in made.choices] == [
        *((0, "a", "stop"), (1, "b", "length")),
    ]
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (642, 8000)
    assert made.usage.completion_tokens_details.reasoning_tokens == 100
    details = made.usage.prompt_tokens_details
    assert details.cached_tokens == made.usage.cache_read_input_tokens == 40
    assert details.cache_write_tokens == made.usage.cache_creation_input_tokens == 600
    extra = made.x_claude
    assert (extra.cost_usd, extra.duration_ms, extra.retries, extra.api_requests) == (0.75, 20, 1, 4)
    assert extra.notices == ["a", "b", "c"]


@pytest.mark.parametrize("include_usage", [False, True])
def test_several_answers_in_chunks(include_usage: bool) -> None:
    events: list[TurnEvent | tuple[int, TurnEvent]] = [
        *((1, TurnStarted("m")), (0, TurnStarted("m")), (1, TextDelta("b")), (1, ToolCallStarted("c", "f"))),
        *((0, ToolCallStarted("d", "g")), (1, ENDS[1]), (0, TextDelta("a")), (0, ENDS[0])),
    ]
    chunks = written(events, TWO, include_usage=include_usage)
    told = [(c["choices"][0]["index"], c["choices"][0]["delta"]) for c in chunks if c["choices"]]
    assert told == [
        (1, {"role": "assistant", "content": ""}),
        (0, {"role": "assistant", "content": ""}),
        (1, {"content": "b"}),
        (1, {"tool_calls": [{"index": 0, **called("c", "f", "")}]}),
        (0, {"tool_calls": [{"index": 0, **called("d", "g", "")}]}),
        (1, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        (1, {}),
        (0, {"content": "a"}),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        (0, {}),
    ]
    # What is of all of them comes once, with the last.
    assert ["x_claude" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["x_claude"]["api_requests"] == 4
    if include_usage:
        assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1]["usage"]["completion_tokens"] == 8000


# As the openai SDK's types have it

ANSWERS: list[list[TurnEvent]] = [
    TURN,
    THOUGHTS,
    DETAILED,
    CALLS,
    OLD_CALL,
    [TurnStarted("m"), done()],
    [TurnStarted("m"), done("refusal")],
    [TurnStarted("m"), TextDelta("I won't"), done("refusal")],
]
HEADS = [
    replace(HEAD, reasoning=name, details=name == "reasoning", functions=functions, structured=structured)
    for name in (None, "reasoning_content", "reasoning")
    for functions in (False, True)
    for structured in (False, True)
]


@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("events", ANSWERS)
def test_every_answer_is_as_the_sdk_has_it(events: list[TurnEvent], choices: int) -> None:
    for context in HEADS:
        context = replace(context, choices=choices)
        whole = completion([events] * choices, context, {"k": "v"})
        assert conformance.completion(whole.model_dump_json().encode(), choices) == []
        for include_usage in (False, True):
            for slice_chars in (None, 2):
                checker = conformance.StreamChecker(include_usage=include_usage, n=choices)
                writer = ChunkWriter(context, include_usage=include_usage, slice_chars=slice_chars)
                for event in events:
                    for index in range(choices):
                        for chunk in writer.chunks(index, event):
                            checker.feed(b"data: " + writer.encode(chunk) + b"\n\n")
                checker.feed(b"data: [DONE]\n\n")
                checker.end()
                assert checker.complaints == []
