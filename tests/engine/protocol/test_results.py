"""What of a result a process passes on, and the form in which it gets it."""

from __future__ import annotations

import base64
import struct

import pytest

from claude_server.core.model import (
    AttemptRequest,
    Document,
    Image,
    Message,
    SessionPlan,
    ToolResult,
    ToolUse,
    TurnRequest,
)
from claude_server.engine.protocol.results import is_echo, is_too_long, is_unfit, tidied, told

LIMIT = 500_000


def png(width: int, height: int, more: int = 0) -> Image:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)
    return Image("image/png", base64.b64encode(head + bytes(more)).decode())


DOT = png(1, 1)


def result(*blocks: str | Image | Document, failed: bool = False) -> ToolResult:
    return ToolResult("toolu_1", blocks, failed)


def test_texts_and_pictures_keep_their_order() -> None:
    assert told(result("a", DOT, "b")) == {
        "content": [
            {"type": "text", "text": "a"},
            {"type": "image", "data": DOT.data, "mimeType": "image/png"},
            {"type": "text", "text": "b"},
        ]
    }
    assert told(result("a", failed=True))["isError"] is True


@pytest.mark.parametrize(
    ("given", "too_long"),
    [
        (result("x" * 499_999), False),
        (result("x" * 500_001), True),
        (result(*["x" * 99_000] * 5), False),
        (result(*["x" * 100_000] * 6), True),
        # Two units of UTF-16 each.
        (result("\U0001f600" * 240_000), False),
        (result("\U0001f600" * 260_000), True),
        (result("\u00e9" * 400_000), False),
        (result("x" * 9_000, failed=True), False),
        (result("x" * 10_001, failed=True), True),
    ],
)
def test_the_length_of_a_result(given: ToolResult, too_long: bool) -> None:
    assert is_too_long(given, LIMIT) is too_long


@pytest.mark.parametrize(
    ("given", "unfit"),
    [
        (result("a"), False),
        (result("a", DOT, png(1920, 1080)), False),
        (result(DOT), False),
        (result("a", "b", failed=True), False),
        # The CLI has words of its own for these.
        (result(), True),
        (result("", " \n"), True),
        (result(failed=True), True),
        # It leaves pictures of a failed call out, writes documents into files, and makes pictures smaller.
        (result("a", DOT, failed=True), True),
        (result("a", Document("cGRm")), True),
        (result(png(2001, 10)), True),
        (result(png(1900, 1900)), True),
        (result(png(10, 10, 500_000)), True),
        (result(Image("image/png", "bm9wZQ==")), True),
    ],
)
def test_what_is_not_passed_on_as_it_is(given: ToolResult, unfit: bool) -> None:
    assert is_unfit(given) is unfit


def test_a_result_is_known_again() -> None:
    given = result("a", DOT)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT.data}}
    text = {"type": "text", "text": "a"}
    assert is_echo({"content": [text, picture]}, given)
    assert not is_echo({"content": [text]}, given)
    assert not is_echo({"content": [picture, text]}, given)
    assert not is_echo({"content": "<persisted-output>\nSaved to /tmp/x"}, given)
    assert not is_echo({"content": [text, {**picture, "source": {"data": "other"}}]}, given)
    assert not is_echo({}, given)


def test_a_failed_calls_result_is_one_text() -> None:
    given = result(" boom\n", "again", failed=True)
    assert is_echo({"content": "boom\n\nagain", "is_error": True}, given)
    assert not is_echo({"content": "boom", "is_error": True}, given)
    assert not is_echo({"content": [{"type": "text", "text": "boom"}]}, given)


def test_an_empty_result_says_so() -> None:
    call = Message("assistant", (ToolUse("toolu_1", "f", {}),))
    empty, full = Message("user", (result(),)), Message("user", (result("(no output)"),))
    turn = TurnRequest("t", Message("user", (result("", " "), "and?")))
    plan = SessionPlan("u", "resume", results=(result(),))
    made = tidied(AttemptRequest(turn, "", (Message("user", ("Q",)), call, empty, call), plan))
    assert made.history == (Message("user", ("Q",)), call, full, call)
    assert made.turn.question == Message("user", (result("(no output)"), "and?"))
    assert made.session is not None and made.session.results == (result("(no output)"),)


def test_results_with_anything_in_them_stay_as_they_are() -> None:
    request = AttemptRequest(TurnRequest("t", Message("user", (result(DOT), "", result("a")))), "", ())
    assert tidied(request) is request


def test_results_come_in_the_order_of_their_calls() -> None:
    one, two = ToolUse("toolu_1", "f", {}), ToolUse("toolu_2", "f", {})
    first, second = ToolResult("toolu_1", ("a",)), ToolResult("toolu_2", ("b",))
    said = (Message("user", ("Q",)), Message("assistant", (one, two)), Message("user", (second, first)))
    turn = TurnRequest("t", Message("user", (second, first, "and?")))
    made = tidied(AttemptRequest(turn, "", (*said, Message("assistant", ("so", one, two)))))
    assert made.history[2] == Message("user", (first, second))
    assert made.turn.question == Message("user", (first, second, "and?"))
    # Of a session the calls are not at hand, and the core has put them in order.
    alone = AttemptRequest(turn, "", ())
    assert tidied(alone) is alone
