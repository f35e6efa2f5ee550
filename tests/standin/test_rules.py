"""What the API refuses."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from claude_server.standin.rules import validation_error
from claude_server.standin.signatures import fresh_data, sign

USER: dict[str, Any] = {"role": "user", "content": "hi"}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "hello"}
TOOL = {"name": "f", "input_schema": {}}
THINK = {"type": "adaptive"}
BUDGET = {"type": "enabled", "budget_tokens": 1024}
FORCE = {"type": "tool", "name": "f"}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 10, "messages": list(messages or (USER,)), **fields}


def call(*names: str) -> dict[str, Any]:
    content = [{"type": "tool_use", "id": name, "name": "f", "input": {}} for name in names]
    return {"role": "assistant", "content": content}


def result(*names: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name} for name in names]}


def thought(text: str = "Hm.", signature: str | None = None) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": sign(text) if signature is None else signature}


def before(first: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "content": [first, *message["content"]]}


def tool(**schema: Any) -> dict[str, Any]:
    return {"name": "g", "input_schema": {"type": "object", **schema}}


def png(width: int = 1, height: int = 1, size: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(size)


def jpeg(width: int, height: int) -> bytes:
    start = struct.pack(">HBHH", 11, 8, height, width)
    return b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc4\0\x03x\xff\xc2" + start + bytes(4)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def webp(kind: bytes, size: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + size


def picture(data: bytes, media_type: str = "image/png") -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def told(*content: dict[str, Any]) -> dict[str, Any]:
    return user({"type": "tool_result", "tool_use_id": "a", "content": list(content)})


TEXT = {"type": "text", "text": "and?"}
ROOM = {"thinking": BUDGET, "max_tokens": 2000}
WEBPS = {
    "lossy": webp(b"VP8 ", bytes(10) + struct.pack("<HH", 8001, 5)),
    "lossless": webp(b"VP8L", bytes(5) + struct.pack("<I", 4 << 14 | 8000)),
    "extended": webp(b"VP8X", bytes(8) + (8000).to_bytes(3, "little") + (4).to_bytes(3, "little")),
}


def blocks(role: str, *texts: str, **extra: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text, **extra} for text in texts]}


@pytest.mark.parametrize(
    "good",
    [
        body(),
        body(USER, USER, ANSWER, USER),
        body(USER, {"role": "system", "content": "more"}),
        body(USER, {"role": "assistant", "content": "prefilled"}),
        body(USER, {"role": "assistant", "content": []}),
        body(USER, call("a"), result("a")),
        body(USER, call("a", "b"), result("b"), result("a"), USER, call("c"), result("c")),
        body(USER, call("a"), {"role": "system", "content": "more"}, result("a")),
        body(tools=[TOOL], tool_choice=FORCE, temperature=0.5),
        body(thinking=THINK, temperature=1, tools=[TOOL], tool_choice={"type": "auto"}),
        body(thinking=BUDGET, max_tokens=2000),
        body(thinking={"type": "disabled"}, temperature=0),
        body(system="be brief"),
        body(system=[{"type": "text", "text": "be brief"}]),
        body(tools=[tool(properties={"oneOf": {"anyOf": [{"type": "null"}]}})]),
        body(USER, before(thought(), call("a")), result("a"), **ROOM),
        body(
            USER, before({"type": "redacted_thinking", "data": fresh_data()}, call("a")), result("a"), **ROOM
        ),
        body(USER, before(thought(), before(TEXT, call("a"))), result("a"), **ROOM),
        body(USER, call("a"), result("a"), before(thought(), call("b")), result("b"), **ROOM),
        body(USER, call("a"), result("a"), ANSWER, USER, **ROOM),
        body(USER, call("a"), result("a"), thinking=THINK),
        body(USER, {"role": "assistant", "content": [thought("\ud83e"), TEXT]}, USER),
        body(user(picture(png(8000, 8000)), TEXT)),
        body(user(picture(jpeg(8000, 1), "image/jpeg"))),
        body(user(picture(gif(8000, 1), "image/gif"))),
        body(user({"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}})),
        body(USER, call("a"), told(TEXT, picture(png()))),
    ],
)
def test_good_requests(good: dict[str, Any]) -> None:
    assert validation_error(good) is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"max_tokens": 1, "messages": [USER]}, "model: Field required"),
        ({"model": "m", "messages": [USER]}, "max_tokens: Field required"),
        ({"model": "m", "max_tokens": 1}, "messages: Field required"),
        (body(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
        (body(max_tokens="1"), "max_tokens: Input should be greater than or equal to 1"),
        ({"model": "m", "max_tokens": 1, "messages": []}, "at least one message is required"),
        (body({"role": "user"}), "messages.0.content: Input should be a valid list"),
        (body({"role": "system", "content": "x"}), "messages.0.role"),
        (body(USER, {"role": "tool", "content": "x"}), "messages.1.role"),
        (body(ANSWER), 'first message must use the "user" role'),
        (body(tools=[{"name": "a b"}]), "tools.0.custom.name: String should match pattern"),
        (body(tools=[TOOL, TOOL]), "Tool names must be unique"),
        (body(tool_choice={"type": "auto"}), "only be specified while providing tools"),
        (body(tools=[TOOL], tool_choice={"type": "tool", "name": "g"}), "Tool 'g' not found"),
        (body(temperature=1.5), "temperature: range: 0..1"),
        (body(thinking={"type": "enabled", "budget_tokens": 1}), "budget_tokens: Input should be"),
        (body(thinking=BUDGET, max_tokens=1024), "`max_tokens` must be greater than"),
        (body(thinking=THINK, temperature=0), "`temperature` may only be set to 1"),
        (body(thinking=THINK, top_k=5), "`top_k` must be unset"),
        (body(thinking=THINK, tools=[TOOL], tool_choice=FORCE), "tool_choice forces tool use"),
        (body(system=[{"type": "text", "text": ""}]), "system: text content blocks must be non-empty"),
        (body({"role": "user", "content": ""}, USER), "messages.0: all messages must have non-empty content"),
        (body({"role": "user", "content": []}, USER), "messages.0: all messages must have non-empty content"),
        (body(blocks("user", "")), "messages: text content blocks must be non-empty"),
        (body(blocks("user", "", cache_control={})), "cache_control cannot be set for empty text"),
        (body(blocks("user", " \n")), "must contain non-whitespace text"),
        (body(USER, blocks("assistant", "so ")), "cannot end with trailing whitespace"),
        (body(USER, call("a")), "without `tool_result` blocks immediately after: a"),
        (body(USER, call("a", "b"), result("a")), "immediately after: b"),
        (body(USER, call("a"), USER, ANSWER, result("a")), "immediately after: a"),
        (body(USER, result("a")), "unexpected `tool_use_id` found in `tool_result` blocks: a"),
        (body(USER, call("a"), result("a", "b")), "unexpected `tool_use_id`"),
        (body(result("a")), "unexpected `tool_use_id`"),
        (body(USER, call("a", "a"), result("a")), "ids must be unique"),
        (body(USER, call("a"), result("a"), call("a"), result("a")), "ids must be unique"),
        (body(tools=[tool(anyOf=[{}])]), "tools.0.custom.input_schema: input_schema does not support oneOf"),
        (body(tools=[TOOL, tool(oneOf=[{}])]), "tools.1.custom.input_schema: input_schema does not"),
        (body(tools=[tool(allOf=[])]), "allOf, or anyOf at the top level"),
        (body(USER, call("a"), result("a"), **ROOM), "messages.1.content.0.type: Expected `thinking` or"),
        (body(USER, before(TEXT, call("a")), result("a"), **ROOM), "but found `text`"),
        (body(USER, call("a"), user(*result("a")["content"], TEXT), **ROOM), "but found `tool_use`"),
        (body(USER, call("a"), result("a"), USER, **ROOM), "but found `tool_use`"),
        (
            body(USER, before(thought(), call("a")), result("a"), call("b"), result("b"), **ROOM),
            "messages.3.content.0.type: Expected",
        ),
        (
            body(USER, {"role": "assistant", "content": [thought("Hm.", "aGVsbG8=")]}, USER),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            body(USER, {"role": "assistant", "content": [TEXT, thought("Ha.", sign("Hm."))]}, USER),
            "messages.1.content.1: Invalid `signature` in `thinking` block",
        ),
        (
            body(USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}]}, USER),
            "Invalid `signature` in `thinking` block",
        ),
        (
            body(USER, before({"type": "redacted_thinking", "data": "aGVsbG8="}, call("a")), result("a")),
            "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        ),
        (body(user(TEXT, picture(png(8001, 1)))), "messages.0.content.1.image.source.base64: At least one"),
        (body(USER, call("a"), told(TEXT, picture(png(1, 8001)))), "0.tool_result.content.1.image.source"),
        *((body(user(picture(found, "image/webp"))), "exceed max allowed size") for found in WEBPS.values()),
        (body(user(picture(jpeg(1, 8001), "image/jpeg"))), "exceed max allowed size: 8000 pixels"),
        (body(user(picture(gif(8001, 1), "image/gif"))), "exceed max allowed size: 8000 pixels"),
        (body(user(picture(png(size=4_000_000)))), "image exceeds 5 MB maximum: 5333368 bytes > 5242880"),
        (body(user(picture(png(), "image/jpeg"))), "image/jpeg media type, but the image appears to be a"),
        (body(user(picture(b"hello"))), "Could not process image"),
        (body(user(picture(b"\x89PNG\r\n\x1a\n"))), "Could not process image"),
        (body(user(picture(b"\xff\xd8\xff\xd9", "image/jpeg"))), "Could not process image"),
        (body(user(picture(webp(b"XXXX", bytes(20)), "image/webp"))), "Could not process image"),
    ],
)
def test_bad_requests(bad: dict[str, Any], words: str) -> None:
    assert words in str(validation_error(bad))
