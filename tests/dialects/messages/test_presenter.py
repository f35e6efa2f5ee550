"""Answers of the Messages API, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

from claude_server.core.model import (
    BlockEnded,
    Citation,
    RedactedThinking,
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
from claude_server.dialects.base import Failure, ServerEvent
from claude_server.dialects.messages.errors import error_body
from claude_server.dialects.messages.presenter import MessagesPresenter
from tests import messages_conformance

PLACE = {"type": "char_location", "cited_text": "grass"}
USAGE = Usage(1, 2, 3, 4)
COUNTS = {
    "input_tokens": 1,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 2,
    "output_tokens": 4,
}
ALL: list[TurnEvent] = [
    TurnStarted("claude-x", usage=Usage(1, 2, 3)),
    ThinkingDelta("h"),
    ThinkingDelta("m"),
    BlockEnded(Thinking("hm", "sig")),
    BlockEnded(RedactedThinking("xyz")),
    BlockEnded(Thinking("", "kept")),
    TextDelta("Gr"),
    TextDelta("een."),
    Citation(json.dumps(PLACE)),
    BlockEnded(),
    TextDelta("So."),
    BlockEnded(),
    ToolCallStarted("toolu_1", "f"),
    ToolCallDelta('{"a":'),
    ToolCallDelta(" 1}"),
    BlockEnded(),
    ToolCallStarted("toolu_2", "g"),
    TurnDone("tool_use", USAGE, "claude-x", 0.1, 5),
]
VISIBLE: list[dict[str, Any]] = [
    {"type": "text", "text": "Green.", "citations": [PLACE]},
    {"type": "text", "text": "So."},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
]
THOUGHTS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "hm", "signature": "sig"},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "thinking", "thinking": "", "signature": "kept"},
]


def whole(*events: TurnEvent, shows: bool = False) -> dict[str, Any]:
    raw = MessagesPresenter("msg_1", shows_thinking=shows).whole([events])
    assert messages_conformance.message(raw) == []
    value: dict[str, Any] = json.loads(raw)
    return value


def stream(*events: TurnEvent, shows: bool = False) -> list[dict[str, Any]]:
    presenter = MessagesPresenter("msg_1", shows_thinking=shows)
    sent = [made for event in events for made in presenter.events(0, event)] + [*presenter.end()]
    checker = messages_conformance.StreamChecker()
    for event in sent:
        checker.feed(encoded(event))
    checker.end()
    assert checker.complaints == []
    return [json.loads(event.data) for event in sent]


def encoded(event: ServerEvent) -> bytes:
    return f"event: {event.name}\ndata: ".encode() + event.data + b"\n\n"


def test_a_whole_answer() -> None:
    answer = whole(*ALL)
    assert answer["content"] == VISIBLE
    assert (answer["id"], answer["model"], answer["stop_reason"]) == ("msg_1", "claude-x", "tool_use")
    assert answer["usage"] == COUNTS and answer["stop_sequence"] is None
    assert whole(*ALL, shows=True)["content"] == THOUGHTS + VISIBLE


def test_a_stream() -> None:
    sent = stream(*ALL, shows=True)
    begun, ping = sent[:2]
    assert begun["message"]["usage"] == {**COUNTS, "output_tokens": 0} and ping == {"type": "ping"}
    starts = [event["content_block"]["type"] for event in sent if event["type"] == "content_block_start"]
    assert starts == [block["type"] for block in THOUGHTS + VISIBLE]
    last, stop = sent[-2:]
    assert last["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert last["usage"] == COUNTS and last["x_claude"]["cost_usd"] == 0.1
    assert stop == {"type": "message_stop"}


def test_thinking_that_nobody_asked_for_leaves_no_gap() -> None:
    sent = stream(*ALL)
    assert [event["index"] for event in sent if event["type"] == "content_block_start"] == [0, 1, 2, 3]


def test_a_stop_text_and_an_answer_that_was_cut() -> None:
    begun = TurnStarted("claude-x")
    done = TurnDone("stop_sequence", USAGE, "claude-x", None, 5, stop_sequence="END")
    assert whole(begun, TextDelta("a"), done)["stop_sequence"] == "END"
    assert stream(begun, TextDelta("a"), done)[-2]["delta"]["stop_sequence"] == "END"
    cut = TurnDone("max_tokens", USAGE, "claude-x", None, 5)
    half: list[TurnEvent] = [begun, ToolCallStarted("t", "f"), ToolCallDelta('{"a'), cut]
    assert whole(*half)["content"] == [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    assert whole(begun, cut)["content"] == [] and stream(begun, cut)


def test_a_stream_that_fails() -> None:
    presenter = MessagesPresenter("msg_1", shows_thinking=False)
    (event,) = presenter.failed(Failure(503, "overloaded", "Too much.", request_id="req_1"))
    assert event.name == "error" and json.loads(event.data) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Too much."},
        "request_id": "req_1",
    }


def test_errors() -> None:
    for status, code, kind in (
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "invalid_api_key", "authentication_error"),
        (403, "account_problem", "permission_error"),
        (404, "model_not_found", "not_found_error"),
        (413, "request_too_large", "request_too_large"),
        (415, "unsupported_media_type", "invalid_request_error"),
        (429, "queue_full", "rate_limit_error"),
        (502, "cli_failed", "api_error"),
        (503, "cli_not_ready", "api_error"),
        (503, "overloaded", "overloaded_error"),
        (504, "timeout", "timeout_error"),
    ):
        raw = error_body(Failure(status, code, "Why."))
        assert messages_conformance.error_body(raw) == []
        assert json.loads(raw)["error"] == {"type": kind, "message": "Why."}
    long = json.loads(error_body(Failure(400, "context_length_exceeded", "Too many tokens.")))
    assert long["error"]["message"] == "prompt is too long: Too many tokens."
    thread = json.loads(error_body(Failure(400, "unsupported_parameter", "No.", param="thread")))
    assert thread["error"]["details"] == {"error_code": "thread_unsupported_request"}
