"""What a request can say of its answer, and what its messages can hold, through the real CLI."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from claude_server.standin import Reply, StandIn, Text, Thinking, ToolUse
from tests.e2e.test_tools import TOOLS, ask, post, streamed
from tests.support import Server, clean_environment, serving

TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "below": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}
POINT: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
    "required": ["x", "y"],
    "additionalProperties": False,
}


def png() -> str:
    """A red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")), chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


PDF = base64.b64encode(
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/MediaBox[0 0 3 3]/Parent 2 0 R>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
).decode()


def schema(of: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": of, **more}}


def content(answer: dict[str, Any]) -> Any:
    return answer["choices"][0]["message"]["content"]


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("strict", [{}, {"strict": True}, {"strict": None}])
@pytest.mark.parametrize(
    ("form", "told", "value"),
    [
        (POINT, {"x": 1, "y": -2}, {"x": 1, "y": -2}),
        (TREE, {"value": {"name": "a", "below": [{"name": "b"}]}}, {"name": "a", "below": [{"name": "b"}]}),
        ({"type": "array", "items": {"type": "integer"}}, {"value": [1, 2]}, [1, 2]),
    ],
)
def test_an_answer_that_holds_to_a_schema(
    server: Server, api: StandIn, form: Any, told: Any, value: Any, strict: dict[str, Any]
) -> None:
    """The model gives it as the arguments of a tool that it must call; the client gets JSON text."""
    for stream in (False, True):
        api.reset()
        api.responder = lambda request: Reply.of(ToolUse(request.tools[0], told), chunk_chars=4)
        body = ask("go", response_format=schema(form, **strict))
        if stream:
            chunks = streamed(server, body)
            found, finish = text_of(chunks), chunks[-1]["choices"][0]["finish_reason"]
        else:
            answer = post(server, body).json()
            found, finish = content(answer), answer["choices"][0]["finish_reason"]
            assert "tool_calls" not in answer["choices"][0]["message"]
        assert json.loads(found) == value and finish == "stop"
        assert len(api.turns) == 1 and api.last.body["tool_choice"]["type"] == "tool"
        assert "$schema" not in api.last.body["tools"][0]["input_schema"]


def test_a_model_that_fails_the_schema_is_an_error(server: Server, api: StandIn) -> None:
    """Asked once more where nothing has been sent; never prose."""
    body = ask("go", response_format=schema(POINT))
    bad, good = (
        Reply.of(ToolUse("json_answer", {"x": "no"})),
        Reply.of(ToolUse("json_answer", {"x": 1, "y": 2})),
    )
    api.push(bad, good)
    assert json.loads(content(post(server, body).json())) == {"x": 1, "y": 2}
    for replies in ((bad, bad), (Reply.of("prose"), Reply.of("prose"))):
        api.reset()
        api.push(*replies)
        failed = post(server, body)
        assert failed.status_code == 502 and failed.json()["error"]["code"] == "invalid_answer"
        assert failed.headers["x-should-retry"] == "false" and len(api.turns) == 2
    api.push(bad)
    live = post(server, {**body, "stream": True})
    assert '"code":"invalid_answer"' in live.text and "[DONE]" not in live.text and "stop" not in live.text


def test_tools_and_a_schema_together(server: Server, api: StandIn) -> None:
    body = ask("go", response_format=schema(POINT), tools=TOOLS)
    api.push(
        Reply.of(ToolUse("get_weather", {"city": "Oslo"})), Reply.of(ToolUse("json_answer", {"x": 1, "y": 2}))
    )
    first = post(server, body).json()["choices"][0]
    assert first["finish_reason"] == "tool_calls" and api.last.body["tool_choice"] == {"type": "any"}
    second = post(server, body).json()["choices"][0]
    assert second["finish_reason"] == "stop" and json.loads(second["message"]["content"]) == {"x": 1, "y": 2}


def test_one_json_object(server: Server, api: StandIn) -> None:
    """Asked for in words; fences come off; what is none is asked again, once."""
    body = ask("go", response_format={"type": "json_object"})
    for replies, found in (
        (['{"a": 1}'], {"a": 1}),
        (['```json\n{"a": [2]}\n```'], {"a": [2]}),
        (["Sure!", '{"b": 3}'], {"b": 3}),
    ):
        api.reset()
        api.push(*replies)
        assert json.loads(content(post(server, body).json())) == found
        assert len(api.turns) == len(replies)
    api.push(*replies)
    assert json.loads(text_of(streamed(server, body))) == {"b": 3}
    api.push("Sure!", "[1]")
    assert post(server, body).json()["error"]["code"] == "invalid_answer"


def test_images_and_pdfs_reach_the_api(server: Server, api: StandIn) -> None:
    """In the question and in the history, as what they are."""
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png()}", "detail": "low"}},
        {"type": "image_url", "image_url": f"data:image/jpg;base64,{png()}"},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
    ]
    body = ask("")
    body["messages"] = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "A pixel."},
        {"role": "user", "content": parts},
    ]
    assert post(server, body).status_code == 200
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png()}}
    document = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    seen = [m["content"] for m in api.last.body["messages"] if m["role"] == "user"]
    for blocks in (seen[0], seen[-1]):
        media = [b for b in blocks if b["type"] != "text"]
        kept = [{k: v for k, v in block.items() if k in ("type", "source")} for block in media]
        assert kept == [image, image, document]
        assert media[-1]["title"] == "a.pdf"


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}, "unsupported_parameter"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
            "invalid_request_error",
        ),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "invalid_request_error"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "unsupported_parameter"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "unsupported_parameter"),
    ],
)
def test_what_cant_be_sent_is_refused(server: Server, api: StandIn, part: Any, code: str) -> None:
    answer = post(server, {"messages": [{"role": "user", "content": [part]}]})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == code
    assert answer.json()["error"]["param"].startswith("messages[0].content[0]") and api.turns == []


def test_images_are_fetched_only_from_the_internet(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    chosen = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_FETCH_IMAGES": "1"}
    with serving(tmp_path / "home", clean_environment(tmp_path / "home", api.url, **chosen)) as server:
        for url in (f"{api.url}/x.png", "http://localhost/x.png", "http://169.254.169.254/latest"):
            part = {"type": "image_url", "image_url": {"url": url}}
            answer = post(server, {"messages": [{"role": "user", "content": [part]}]})
            assert answer.status_code == 400 and "not on the internet" in answer.text
        assert len(api.requests) == len(api.turns) == 0


@pytest.mark.parametrize("stop", [" END", [" END", "never"], "\n\n", ["x", "\n\n"]])
def test_stop_texts_end_the_answer(server: Server, api: StandIn, stop: Any) -> None:
    """The API looks for those that it takes; blank ones are found here, across pieces, and the rest of the
    answer is cut off."""
    for stream in (False, True):
        api.push(Reply.of("one two END\n\nthree x", chunk_chars=3, delay=0.01))
        body = ask("go", stop=stop)
        whole = streamed(server, body) if stream else post(server, body).json()
        found = text_of(whole) if isinstance(whole, list) else content(whole)
        native = api.last.body.get("stop_sequences", [])
        assert found == ("one two" if " END" in native else "one two END")
        assert all(text.strip() for text in native)
        last = whole[-1] if isinstance(whole, list) else whole
        assert last["choices"][0]["finish_reason"] == "stop"
    assert post(server, ask("next")).status_code == 200
    assert "stop_sequences" not in api.last.body


def test_several_answers(server: Server, api: StandIn) -> None:
    api.responder = lambda request: Reply.of(f"answer {request.number}", chunk_chars=2, delay=0.01)
    whole = post(server, ask("go", n=3)).json()
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert [c["index"] for c in whole["choices"]] == [0, 1, 2] and len(set(texts)) == 3
    assert whole["usage"]["completion_tokens"] >= 3 and whole["x_claude"]["api_requests"] == 3
    chunks = streamed(server, ask("go", n=3, stream_options={"include_usage": True}))
    assert {text_of(chunks, index)[:7] for index in range(3)} == {"answer "}
    assert len([c for c in chunks for choice in c["choices"] if choice["finish_reason"]]) == 3
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] >= 3
    for fields, param in (({"n": 9}, "n"), ({"n": 2, "session_id": "s"}, "n")):
        refused = post(server, ask("go", **fields))
        assert refused.status_code == 400 and refused.json()["error"]["param"] == param


def test_thinking_is_shown_and_counted(server: Server, api: StandIn) -> None:
    reply = Reply.of(Thinking("Let me think."), Text("Done."), chunk_chars=4)
    api.push(reply, reply)
    message = post(server, ask("go", reasoning_effort="high")).json()["choices"][0]["message"]
    assert message["reasoning_content"] == "Let me think." and message["content"] == "Done."
    assert api.last.body["output_config"]["effort"] == "high"
    chunks = streamed(server, ask("go"))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Let me think."
    assert text_of(chunks) == "Done."
    post(server, ask("go", reasoning_effort="none"))
    assert "thinking" not in api.last.body or api.last.body["thinking"]["type"] == "disabled"


def test_the_operators_choices(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """Sampling for the models that take it, strictness, the name for thinking."""
    chosen = {
        "CLAUDE_BIN": str(claude_bin),
        "CLAUDE_STRICT": "1",
        "CLAUDE_SAMPLING_MODELS": "haiku*",
        "CLAUDE_REASONING_FIELD": "reasoning",
    }
    with serving(tmp_path / "home", clean_environment(tmp_path / "home", api.url, **chosen)) as server:
        answer = post(server, {**ask("go", temperature=0.3, top_p=0.9), "model": "haiku"})
        assert answer.status_code == 200 and "x-ignored-params" not in answer.headers
        assert (api.last.body["temperature"], api.last.body["top_p"]) == (0.3, 0.9)
        assert "thinking" not in api.last.body or api.last.body["thinking"]["type"] == "disabled"
        for fields in ({"temperature": 0.3}, {"seed": 1}):
            refused = post(server, ask("go", **fields))
            assert refused.status_code == 400 and refused.json()["error"]["param"] == next(iter(fields))
        api.push(Reply.of(Thinking("Hm."), Text("Done.")))
        assert post(server, ask("go")).json()["choices"][0]["message"]["reasoning"] == "Hm."


def test_a_limit_is_told_with_what_there_was(server: Server, api: StandIn) -> None:
    """The CLI asks the model to go on before it can be stopped, sometimes: the count says so."""
    seen = 0
    for number in range(6):
        api.responder = lambda request: Reply.of("word " * 50, chunk_chars=20)
        name = "max_tokens" if number % 2 else "max_completion_tokens"
        answer = post(server, ask("go", **{name: 10})).json()
        assert answer["choices"][0]["finish_reason"] == "length" and content(answer).startswith("word ")
        assert api.last.body["max_tokens"] == 10
        seen += answer["x_claude"]["api_requests"]
    assert 6 <= seen <= len(api.turns)


def test_a_refusal(server: Server, api: StandIn) -> None:
    # To whatever comes: the CLI asks once more, sometimes before it is stopped.
    api.responder = lambda request: Reply.of(stop_reason="refusal")
    for body in (ask("go"), ask("go", response_format=schema(POINT))):
        choice = post(server, body).json()["choices"][0]
        assert choice["finish_reason"] == "content_filter"
        assert choice["message"]["refusal"] and choice["message"]["content"] is None
        assert any(c["choices"][0]["delta"].get("refusal") for c in streamed(server, body))


def test_every_role(server: Server, api: StandIn) -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "First."}]},
        {"role": "system", "content": "Second."},
        {"role": "user", "name": "ann", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "again"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "there", "refusal": None},
        {"role": "tool", "tool_call_id": "gone", "content": "orphan"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c 1", "type": "function", "function": {"name": "Bash", "arguments": "{}"}}
            ],
        },
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": "prefill"},
    ]
    answer = post(server, {"model": "sonnet", "messages": messages, "verbosity": "low"})
    assert answer.status_code == 200 and "Please continue." in answer.json()["x_claude"]["notices"][0]
    assert api.last.system_texts[-1] == "First.\n\nSecond.\n\nAnswer briefly."
    assert api.last.conversation == [
        ("user", "ann: Helloagain"),
        ("assistant", "Hithere"),
        ("user", "[Result of the tool call gone] orphan"),
        ("user", "go on"),
        ("assistant", "prefill"),
        ("user", "Please continue."),
    ]
    assert api.last.tools == ["Bash"] and api.last.body["tool_choice"] == {"type": "none"}


def test_the_tier_and_the_cache_are_those_of_the_request(server: Server, api: StandIn) -> None:
    """And of no later one."""
    for tier, retention, told, ttl in (
        ("default", "24h", "standard_only", ["1h"]),
        (None, None, None, []),
        ("auto", "in_memory", None, []),
        (None, "24h", None, ["1h"]),
    ):
        answer = post(server, ask("go", service_tier=tier, prompt_cache_retention=retention))
        assert answer.status_code == 200 and "x-ignored-params" not in answer.headers
        body = api.last.body
        marks = [block["cache_control"] for block in body["system"] if "cache_control" in block]
        assert body.get("service_tier") == told
        assert marks and [mark["ttl"] for mark in marks if "ttl" in mark] == ttl * len(marks)
    ignored = post(server, ask("go", service_tier="flex", prompt_cache_retention="1h"))
    assert ignored.headers["x-ignored-params"] == "service_tier, prompt_cache_retention"
