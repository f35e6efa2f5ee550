"""A scripted reply as bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_server.standin.caching import Usage
from claude_server.standin.render import (
    Step,
    apply_limits,
    error_body,
    error_event,
    message_json,
    stream_steps,
)
from claude_server.standin.script import (
    ApiError,
    RedactedThinking,
    Reply,
    Text,
    Thinking,
    ToolUse,
    unified_limit_headers,
)
from claude_server.standin.signatures import data_is_ours, signature_is_ours

USAGE = Usage(input_tokens=3, cache_creation_input_tokens=4, cache_read_input_tokens=5)


def steps(reply: Reply, stop_after: int | None = None, **body: Any) -> list[Step]:
    settled = apply_limits(reply, body.get("max_tokens"), body.get("stop_sequences") or ())
    return stream_steps(
        reply, settled, model="m", message_id="msg_1", usage=USAGE, body=body, stop_after=stop_after
    )


def events(data: bytes) -> list[dict[str, Any]]:
    """The payloads of an SSE stream; checks that the event names are those of the payloads."""
    found = []
    for chunk in data.decode().split("\n\n")[:-1]:
        name, payload = chunk.split("\n")
        found.append(json.loads(payload.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def sent(reply: Reply, stop_after: int | None = None, **body: Any) -> list[dict[str, Any]]:
    return events(b"".join(step.data for step in steps(reply, stop_after, **body)))


def whole(reply: Reply, **body: Any) -> dict[str, Any]:
    settled = apply_limits(reply, body.get("max_tokens"), body.get("stop_sequences") or ())
    made = message_json(reply, settled, model="m", message_id="msg_1", usage=USAGE, body=body)
    message: dict[str, Any] = json.loads(made)
    return message


def test_a_text_as_the_api_streams_it() -> None:
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 4,
        "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    message: dict[str, Any] = {"model": "m", "id": "msg_1", "type": "message", "role": "assistant"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    totals = {"input_tokens": 3, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 5}
    assert sent(Reply.of("Hello there", chunk_chars=6)) == [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {**totals, "output_tokens": 3},
        },
        {"type": "message_stop"},
    ]


def test_thinking_ends_with_its_signature() -> None:
    reply = Reply.of(Thinking("hmm", signature="sig"), RedactedThinking("xx"))
    assert sent(reply)[1:8] == [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hmm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "redacted_thinking", "data": "xx"},
        },
        {"type": "content_block_stop", "index": 1},
    ]


def test_a_tool_call_is_streamed_as_json() -> None:
    found = sent(Reply.of(ToolUse("f", {"a": "b"}, chunk=6)))
    start = {"type": "tool_use", "id": "toolu_100", "name": "f", "input": {}}
    assert found[1]["content_block"] == start
    pieces = [e["delta"]["partial_json"] for e in found if e["type"] == "content_block_delta"]
    assert pieces == ["", '{"a":"', 'b"}']
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_tool_call_keeps_the_id_it_was_given() -> None:
    assert whole(Reply.of(ToolUse("f", {"a": 1}, id="toolu_x")))["content"] == [
        {"type": "tool_use", "id": "toolu_x", "name": "f", "input": {"a": 1}}
    ]


@pytest.mark.parametrize(
    ("reply", "pieces"),
    [
        (Reply.of("abcde", chunk_chars=2), ["ab", "cd", "e"]),
        (Reply.of("abcde", chunk_chars=None), ["abcde"]),
        (Reply.of(Text("abcde", chunk=4), "fgh", chunk_chars=2), ["abcd", "e", "fg", "h"]),
        (Reply.of("", "x"), ["x"]),
        (Reply(), []),
    ],
)
def test_the_size_of_a_delta(reply: Reply, pieces: list[str]) -> None:
    assert [e["delta"]["text"] for e in sent(reply) if e["type"] == "content_block_delta"] == pieces


def test_no_delay_is_one_send() -> None:
    assert [step.pause for step in steps(Reply.of("a" * 1000))] == [0.0]


def test_delays_stand_between_deltas_only() -> None:
    found = steps(Reply.of("abcd", "ef", chunk_chars=2, first_delay=1.0, delay=0.5))
    assert [step.pause for step in found] == [1.0, 0.5, 0.5]
    kinds = [[e["type"] for e in events(step.data)] for step in found]
    assert kinds == [
        ["message_start", "content_block_start", "ping", "content_block_delta"],
        ["content_block_delta", "content_block_stop", "content_block_start"],
        ["content_block_delta", "content_block_stop", "message_delta", "message_stop"],
    ]


@pytest.mark.parametrize(
    ("stop_after", "text", "last"),
    [
        (0, "", "message_start"),
        (3, "abc", "content_block_delta"),
        (5, "abcde", "content_block_delta"),
        (7, "abcdefg", "content_block_delta"),
        (99, "abcdefgh", "content_block_stop"),
    ],
)
def test_a_stream_left_unfinished(stop_after: int, text: str, last: str) -> None:
    found = sent(Reply.of("abcde", "fgh", chunk_chars=2), stop_after)
    assert "".join(e["delta"]["text"] for e in found if e["type"] == "content_block_delta") == text
    assert found[-1]["type"] == last


def test_max_tokens_cuts_the_text() -> None:
    message = whole(Reply.of("a" * 30, "b" * 30), max_tokens=10)
    assert [block["text"] for block in message["content"]] == ["a" * 30, "b" * 10]
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 10)


def test_max_tokens_begins_no_block_it_has_no_room_for() -> None:
    assert [block["text"] for block in whole(Reply.of("a" * 40, "b"), max_tokens=10)["content"]] == ["a" * 40]


def test_max_tokens_leaves_a_tool_call_unfinished() -> None:
    reply = Reply.of(ToolUse("f", {"a": "b" * 100}))
    assert whole(reply, max_tokens=2)["content"][0]["input"] == {}
    found = sent(reply, max_tokens=2)
    assert (
        "".join(e["delta"]["partial_json"] for e in found if e["type"] == "content_block_delta") == '{"a":"bb'
    )
    assert found[-2]["delta"]["stop_reason"] == "max_tokens"


def test_cut_thinking_has_no_signature() -> None:
    found = sent(Reply.of(Thinking("a" * 100), "text"), max_tokens=2)
    assert [e["delta"]["type"] for e in found if e["type"] == "content_block_delta"] == ["thinking_delta"]
    assert found[-1] == {"type": "message_stop"}


def test_a_signature_is_issued_for_the_text() -> None:
    thought, redacted = whole(Reply.of(Thinking("hmm"), RedactedThinking()))["content"]
    assert signature_is_ours("hmm", thought["signature"])
    assert not signature_is_ours("hm", thought["signature"])
    assert data_is_ours(redacted["data"])
    deltas = [e["delta"] for e in sent(Reply.of(Thinking("hmm"))) if e["type"] == "content_block_delta"]
    assert deltas[-1] == {"type": "signature_delta", "signature": thought["signature"]}


def test_a_reply_can_be_cut_whatever_the_request_allows() -> None:
    reply = Reply.of("Look:", ToolUse("f", {"a": "b" * 100}), max_tokens=4)
    found = sent(reply, max_tokens=1000)
    deltas = [e["delta"] for e in found if e["type"] == "content_block_delta"]
    assert "".join(d.get("partial_json", "") for d in deltas) == '{"a":"bbbbb'
    assert found[-2]["delta"]["stop_reason"] == "max_tokens"
    assert sent(reply, max_tokens=1)[-2]["usage"]["output_tokens"] == 1


def test_enough_room_changes_nothing() -> None:
    message = whole(Reply.of("a" * 40), max_tokens=10)
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("end_turn", 10)


@pytest.mark.parametrize(("tokens", "limit", "reported"), [(7, None, 7), (7, 5, 5), (7, 9, 7)])
def test_given_output_tokens(tokens: int, limit: int | None, reported: int) -> None:
    settled = apply_limits(Reply.of("abc", output_tokens=tokens), limit)
    assert settled.output_tokens == reported
    assert settled.stop_reason == ("max_tokens" if reported < tokens else "end_turn")


def test_the_first_stop_sequence_ends_the_text() -> None:
    message = whole(Reply.of("one", "two B three A four", "five"), stop_sequences=["A", "", "B"])
    assert [block["text"] for block in message["content"]] == ["one", "two "]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "B")
    assert message["usage"]["output_tokens"] == 2


def test_stop_sequences_are_looked_for_in_texts_only() -> None:
    reply = Reply.of(Thinking("STOP"), ToolUse("f", {"a": "STOP"}), "fine")
    settled = apply_limits(reply, None, ["STOP"])
    assert (settled.stop_reason, settled.stop_sequence, len(settled.parts)) == ("tool_use", None, 3)


def test_a_whole_message() -> None:
    reply = Reply.of(Thinking("hmm", signature="sig"), RedactedThinking("xx"), "hi")
    message = whole(reply, context_management={"edits": []})
    assert message["content"] == [
        {"type": "thinking", "thinking": "hmm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "text", "text": "hi"},
    ]
    assert message["context_management"] == {"applied_edits": []}
    assert message["stop_reason"] == "end_turn"


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "cyber"}
    reply = Reply.of("no", stop_reason="refusal", stop_details=details)
    assert sent(reply, context_management={})[-2]["delta"] == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": details,
    }
    assert sent(reply, context_management={})[-2]["context_management"] == {"applied_edits": []}
    assert whole(reply)["stop_details"] == details


def test_given_stop_reasons_stand() -> None:
    settled = apply_limits(Reply.of("x", stop_reason="stop_sequence", stop_sequence="Y"), 10)
    assert (settled.stop_reason, settled.stop_sequence) == ("stop_sequence", "Y")


def test_text_goes_out_as_utf8() -> None:
    assert "käse 🧀".encode() in steps(Reply.of("käse 🧀"))[0].data
    assert b'"text":"half ?"' in steps(Reply.of("half \ud83e"))[0].data


def test_errors_have_the_shape_of_the_api() -> None:
    assert json.loads(error_body(ApiError.overloaded(), "req_1")) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1",
    }
    assert events(error_event("api_error", "oh", "req_1")) == [
        {"type": "error", "error": {"type": "api_error", "message": "oh"}, "request_id": "req_1"}
    ]


@pytest.mark.parametrize(
    ("error", "status", "kind", "text"),
    [
        (ApiError.bad_request("no"), 400, "invalid_request_error", "no"),
        (
            ApiError.prompt_too_long(201, 200),
            400,
            "invalid_request_error",
            "prompt is too long: 201 tokens > 200 maximum",
        ),
        (ApiError.unauthorized(), 401, "authentication_error", "invalid x-api-key"),
        (ApiError(402), 402, "billing_error", "Your credit balance is too low to access the Anthropic API."),
        (
            ApiError.forbidden(),
            403,
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        (ApiError.model_not_found("x"), 404, "not_found_error", "model: x"),
        (ApiError.too_large(), 413, "request_too_large", "Request exceeds the maximum size"),
        (
            ApiError.rate_limited(),
            429,
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50 requests per minute.",
        ),
        (
            ApiError.long_context_needs_extra_usage(),
            429,
            "rate_limit_error",
            "Extra usage is required for long context requests.",
        ),
        (
            ApiError.out_of_extra_usage(),
            400,
            "invalid_request_error",
            "You're out of extra usage. Add more at claude.ai/settings/usage to continue.",
        ),
        (ApiError.server_error(), 500, "api_error", "Internal server error"),
        (ApiError.overloaded(), 529, "overloaded_error", "Overloaded"),
        (ApiError(418), 418, "invalid_request_error", "Error"),
        (ApiError(503), 503, "api_error", "Error"),
        (ApiError(503, type="x", message="y"), 503, "x", "y"),
    ],
)
def test_errors_by_status(error: ApiError, status: int, kind: str, text: str) -> None:
    assert (error.status, error.error_type, error.text) == (status, kind, text)


def test_the_headers_of_limits() -> None:
    assert ApiError.rate_limited(7).headers == {"retry-after": "7"}
    error = ApiError.subscription_limit(resets_at=1000, claim="seven_day", retry_after=9)
    prefix = "anthropic-ratelimit-unified"
    assert error.headers == {
        f"{prefix}-status": "rejected",
        f"{prefix}-reset": "1000",
        f"{prefix}-representative-claim": "seven_day",
        f"{prefix}-7d-status": "rejected",
        f"{prefix}-7d-reset": "1000",
        f"{prefix}-7d-utilization": "1.0",
        "retry-after": "9",
    }
    assert unified_limit_headers(status="allowed", resets_at=1)[f"{prefix}-5h-utilization"] == "0.5"
