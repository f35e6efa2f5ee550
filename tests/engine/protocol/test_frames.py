"""Lines to and from the CLI."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core.model import ApiBlock, Block, RedactedThinking, Thinking, ToolUse
from claude_server.engine.protocol import frames
from claude_server.engine.protocol.framing import LineSplitter

ANY_TEXT = st.text(st.characters(codec=None), max_size=20)


def decoded(*given: frames.Frame) -> list[Any]:
    return [json.loads(line) for line in frames.encode(given).splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b'{"type":null}',
        b'{"type":5}',
        b'{"type":"a"',
        b'\xff\xfe{"type":"a"}',
        b'{"type":"\xff"}',
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_what_is_no_frame(line: bytes) -> None:
    assert frames.parse(line) is None


@given(st.text(st.characters(codec="ascii", categories=["L", "P"]), min_size=1), ANY_TEXT)
def test_a_frame_behind_noise_is_torn(noise: str, text: str) -> None:
    """What was written without its line's end: the frame after it is lost, and that must be seen."""
    line = noise.encode() + frames.encode([frames.user([text])])
    assert frames.parse(line) is None
    assert frames.is_torn(line)


@pytest.mark.parametrize("line", [b"Warning: type is old", b"[]", b'{"type":5}', b"{'type': 'a'}"])
def test_noise_is_not_torn(line: bytes) -> None:
    assert not frames.is_torn(line)


def test_a_frame() -> None:
    assert frames.parse(b' {"type":"result","x":[1]}\r') == {"type": "result", "x": [1]}
    assert frames.parse('{"type":"a","t":"€"}'.encode()) == {"type": "a", "t": "€"}


@given(st.lists(ANY_TEXT, min_size=1))
def test_no_text_ends_its_line(texts: list[str]) -> None:
    data = frames.encode([frames.user(texts), frames.assistant(texts)])
    assert data.isascii()
    assert data.endswith(b"\n")
    lines = LineSplitter().feed(data)
    assert len(lines) == data.count(b"\n") == 2
    for line in lines:
        frame = json.loads(line)
        sent = [block["text"] for block in frame["message"]["content"]]
        assert sent == ([frames.escape_command(text) for text in texts] if frame["type"] == "user" else texts)


def test_nothing_is_nothing() -> None:
    assert frames.encode([]) == b""


def test_a_text_that_looks_like_a_command() -> None:
    texts = ["/clear", "/", "a/b", " /clear", "", "//x", "!ls", "#x"]
    told = [" /clear", " /", "a/b", " /clear", "", " //x", "!ls", "#x"]
    assert [frames.escape_command(text) for text in texts] == told


def test_a_question() -> None:
    (frame,) = decoded(frames.user(["How?", "/help"]))
    uuid.UUID(frame.pop("uuid"))
    assert frame == {
        "type": "user",
        "message": {
            "role": "user",
            "content": [{"type": "text", "text": "How?"}, {"type": "text", "text": " /help"}],
        },
        "parent_tool_use_id": None,
        "session_id": "",
    }


def test_an_earlier_message_asks_nothing() -> None:
    (frame,) = decoded(frames.user(["Hi"], query=False))
    assert frame["shouldQuery"] is False
    assert frame["message"] == {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


def test_an_earlier_answer() -> None:
    (frame,) = decoded(frames.assistant(["One", "/two"]))
    assert frame["message"].pop("id").startswith("msg_")
    uuid.UUID(frame.pop("uuid"))
    assert frame == {
        "type": "assistant",
        "message": {
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "/two"}],
        },
        "parent_tool_use_id": None,
        "session_id": "",
    }


def test_the_thoughts_of_an_earlier_answer() -> None:
    blocks: list[Block] = [Thinking("hm", "sig"), RedactedThinking("ZGF0YQ=="), ToolUse("toolu_1", "f", {})]
    (frame,) = decoded(frames.assistant(blocks, "claude-x-5"))
    assert frame["message"]["model"] == "claude-x-5"
    assert frame["message"]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
    ]


def test_ids_are_never_used_twice() -> None:
    made = decoded(*(frames.assistant(["a"]) for _ in range(50)), *(frames.user(["a"]) for _ in range(50)))
    assert len({frame["uuid"] for frame in made}) == 100
    assert len({frame["message"]["id"] for frame in made[:50]}) == 50


def test_control_lines() -> None:
    assert frames.control_request("r1", "set_model", model="m") == {
        "type": "control_request",
        "request_id": "r1",
        "request": {"subtype": "set_model", "model": "m"},
    }
    assert frames.control_answer("x", {"a": 1}) == {
        "type": "control_response",
        "response": {"subtype": "success", "request_id": "x", "response": {"a": 1}},
    }
    assert frames.control_refusal("x", "no") == {
        "type": "control_response",
        "response": {"subtype": "error", "request_id": "x", "error": "no"},
    }


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (r"\ud83d\ude00", "\U0001f600"),
        (r"a\ud83d", "a\ufffd"),
        (r"\ude00 \ud83d\ude00", "\ufffd \U0001f600"),
    ],
)
def test_half_a_character_can_be_passed_on(told: str, read: str) -> None:
    """Text with it in it can't be written as UTF-8: the answer would end as a mistake of the server."""
    frame = frames.parse(f'{{"type":"a","text":"{told}","\\ud800":1}}'.encode())
    assert frame == {"type": "a", "text": read, "\ufffd": 1}
    assert pydantic_core.to_json(frame)


def test_a_block_in_the_apis_own_words_stays_as_it_is() -> None:
    document = {"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}}
    line = frames.user((ApiBlock(json.dumps(document)), "Read it."))
    assert line["message"]["content"] == [document, {"type": "text", "text": "Read it."}]
