"""The control API, and answers described as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from claude_server.standin import (
    Answer,
    ApiError,
    Cut,
    RedactedThinking,
    Reply,
    Silence,
    StandIn,
    StreamError,
    Text,
    Thinking,
    ToolUse,
)
from claude_server.standin.control import answer_from_json

BODY = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def client(api: StandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, headers={"x-api-key": "sk-made-up"}) as made:
        yield made


def said(client: httpx.Client) -> str:
    return str(client.post("/v1/messages", json=BODY).json()["content"][0]["text"])


@pytest.mark.parametrize(
    ("described", "answer"),
    [
        ("hi", Reply(blocks=(Text("hi"),))),
        (
            {"text": "hi", "delay": 0.5, "chunk_chars": 3},
            Reply(blocks=[Text("hi")], delay=0.5, chunk_chars=3),
        ),
        ({"text": ""}, Reply(blocks=[Text("")])),
        (
            {
                "blocks": [
                    "a",
                    {"type": "text", "text": "b", "chunk": 1},
                    {"type": "thinking", "text": "c"},
                    {"type": "redacted_thinking", "data": "xx"},
                    {"type": "tool_use", "name": "f", "input": {"x": 1}},
                ]
            },
            Reply(
                blocks=[
                    Text("a"),
                    Text("b", 1),
                    Thinking("c"),
                    RedactedThinking("xx"),
                    ToolUse("f", {"x": 1}),
                ]
            ),
        ),
        ({"error": {"status": 529}}, ApiError(529)),
        ({"cut": {"after": "abc", "chars": 1}}, Cut(Reply.of("abc"), 1)),
        ({"cut": {"chars": None}}, Cut(chars=None)),
        ({"silence": {"seconds": 2}}, Silence(seconds=2)),
        ({"stream_error": {"chars": None}}, StreamError(chars=None)),
        ({"text": "abc", "max_tokens": 1}, Reply(blocks=[Text("abc")], max_tokens=1)),
        ({"stream_error": {"after": {"text": "abc"}}}, StreamError(Reply(blocks=[Text("abc")]))),
    ],
)
def test_descriptions(described: Any, answer: Answer) -> None:
    assert answer_from_json(described) == answer


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (1, "a string or an object"),
        ({}, "either 'text' or 'blocks'"),
        ({"text": "a", "blocks": ["b"]}, "either 'text' or 'blocks'"),
        ({"blocks": "b"}, "either 'text' or 'blocks'"),
        ({"blocks": [{"type": "video"}]}, "one of these types: text, thinking"),
        ({"blocks": [{"type": "tool_use"}]}, "ToolUse: .*'name'"),
        ({"text": "a", "dealy": 1}, "Reply has no dealy, but blocks, chunk_chars"),
        ({"error": {"status": 500}, "text": "a"}, "'error' stands alone"),
        ({"cut": 5}, "'cut' stands alone and holds an object"),
        ({"cut": {"after": 5}}, "a reply is a string or an object"),
        ({"error": {}}, "ApiError: .*'status'"),
    ],
)
def test_bad_descriptions(described: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        answer_from_json(described)


def test_an_answer_for_everything_and_back(client: httpx.Client) -> None:
    assert client.put("/_standin/reply", json={"text": "always"}).status_code == 200
    assert [said(client), said(client)] == ["always", "always"]
    assert client.delete("/_standin/reply").status_code == 200
    assert said(client) == "You said: hello"


def test_answers_for_the_next_requests(client: httpx.Client) -> None:
    assert client.post("/_standin/reply", json="one").json() == {"queued": 1}
    assert client.post("/_standin/reply", json=[{"text": "two"}, "three"]).json() == {"queued": 3}
    assert [said(client) for _ in range(4)] == ["one", "two", "three", "You said: hello"]


def test_what_was_asked(client: httpx.Client) -> None:
    said(client)
    client.get("/v1/models")
    first, second = client.get("/_standin/requests").json()
    assert (first["number"], first["method"], first["path"], first["query"]) == (
        1,
        "POST",
        "/v1/messages",
        "",
    )
    assert (first["body"], first["outcome"]) == (BODY, "complete")
    assert first["headers"]["x-api-key"] == "***"
    assert first["bytes"] > 50
    assert first["usage"]["input_tokens"] == 2
    assert first["cache_hit"] == ""
    assert client.get("/_standin/requests?since=1").json() == [second]
    assert client.delete("/_standin/requests").json() == {}
    assert client.get("/_standin/requests").json() == []


def test_counters(client: httpx.Client) -> None:
    client.post("/_standin/reply", json=["one", "two"])
    said(client)
    client.get("/v1/models")
    stats = client.get("/_standin/stats").json()
    assert stats.pop("bytes_in") > 50
    assert stats == {
        "requests": 2,
        "turns": 1,
        "open": 0,
        "queued": 1,
        "cache_entries": 0,
        "failures": 0,
    }


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "words"),
    [
        ("PUT", "reply", b"{", 400, "Expecting property name"),
        ("PUT", "reply", b"{}", 400, "either 'text' or 'blocks'"),
        ("GET", "requests?since=x", b"", 400, "invalid literal"),
        ("PATCH", "stats", b"", 404, "there is no PATCH /_standin/stats"),
        ("GET", "nothing", b"", 404, "there is no GET /_standin/nothing"),
    ],
)
def test_mistakes(
    client: httpx.Client, method: str, path: str, content: bytes, status: int, words: str
) -> None:
    response = client.request(method, f"/_standin/{path}", content=content)
    assert response.status_code == status
    assert words in response.json()["error"]
