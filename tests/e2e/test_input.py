"""Bad input gets the decided status and a clear error in OpenAI's shape, and reaches nothing."""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.dialects.conversation import MAX_LENGTH
from claude_server.standin import StandIn
from tests.support import PATIENCE, Server, clean_environment, serving

# After each test: nothing is held, no process is lost, descriptors and tasks are as many as before.
pytestmark = pytest.mark.usefixtures("unharmed")
JSON = {"content-type": "application/json"}
HI = [{"role": "user", "content": "hi"}]


def post(server: Server, body: bytes | dict[str, Any]) -> httpx.Response:
    url = f"{server.base_url}/chat/completions"
    if isinstance(body, bytes):
        return httpx.post(url, content=body, headers=JSON, timeout=PATIENCE)
    return httpx.post(url, json=body, timeout=PATIENCE)


def check_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    detail: dict[str, Any] = response.json()["error"]
    assert set(detail) - {"details"} == {"message", "type", "param", "code"}
    assert detail["code"] == code and detail["message"].endswith(".")
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-request-id"]
    return detail


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"messages": HI, "stream": "yes"}, "stream"),
        ({"messages": HI, "model": 5}, "model"),
        ({"messages": HI, "n": 0}, "n"),
        ({"messages": HI, "session_id": ""}, "session_id"),
        ({"messages": HI, "stream_mode": "fast"}, "stream_mode"),
    ],
)
def test_invalid_requests(server: Server, api: StandIn, body: dict[str, Any], param: str) -> None:
    detail = check_error(post(server, body), 400, "invalid_request_error")
    assert detail["type"] == "invalid_request_error"
    assert str(detail["param"]).startswith(param)
    assert api.turns == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b"[" * 100_000,
        b'{"messages": ' + b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": "hi"}], "n": ' + b"9" * 5000 + b"}",
    ],
)
def test_bodies_that_are_no_request(server: Server, api: StandIn, body: bytes) -> None:
    check_error(post(server, body), 400, "invalid_request_error")
    assert api.turns == []


def test_each_field_that_is_wrong_is_told(server: Server) -> None:
    """In the wrapper's shape, beside the four keys."""
    body = {"messages": [{"role": "wizard", "content": "hi"}], "n": 0, "stream": "SECRET " * 20}
    detail = check_error(post(server, body), 400, "invalid_request_error")
    found = {item["field"]: item for item in detail["details"]}
    assert set(found) == {"messages.0.role", "n", "stream"}
    assert found["n"] == {
        **{"field": "n", "message": "must be 1 or more"},
        **{"type": "greater_than_equal", "input": 0},
    }
    assert (found["messages.0.role"]["input"], found["stream"]["input"]) == ("wizard", None)


@pytest.mark.parametrize("number", [b"NaN", b"1e400", b"-Infinity"])
def test_odd_numbers_are_no_server_error(server: Server, api: StandIn, number: bytes) -> None:
    body = b'{"messages": [{"role": "user", "content": "hi"}], "temperature": ' + number + b"}"
    assert post(server, body).status_code in (200, 400)


@pytest.mark.parametrize(
    "extra",
    [
        {"logprobs": True},
        {"n": 9},
        {"web_search_options": {}},
        {"modalities": ["text", "audio"]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
    ],
)
def test_what_would_change_the_answers_shape_is_refused(
    server: Server, api: StandIn, extra: dict[str, Any]
) -> None:
    detail = check_error(post(server, {"messages": HI, **extra}), 400, "unsupported_parameter")
    assert detail["param"]
    assert api.turns == []


def test_what_is_ignored_is_said(server: Server, api: StandIn) -> None:
    body = {"messages": HI, "temperature": 0.2, "top_p": 1, "seed": 1, "stop": None, "made_up": 1}
    response = post(server, body)
    assert response.status_code == 200
    assert response.headers["x-ignored-params"] == "seed, temperature"


@pytest.mark.parametrize(
    "model", ["--dangerously-skip-permissions", "-p", "a b", "x" * 300, "a\0b", "../../x", "$(id)"]
)
def test_a_model_is_never_an_option(server: Server, api: StandIn, model: str) -> None:
    response = post(server, {"messages": HI, "model": model})
    check_error(response, 404, "model_not_found")
    assert api.turns == []


def test_a_model_that_the_api_does_not_have(server: Server, api: StandIn) -> None:
    """It is the API that says so; any name that can be one is passed on."""
    assert post(server, {"messages": HI, "model": "bogus-model"}).status_code == 200
    assert api.last.model == "bogus-model"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_unknown_paths_and_methods(server: Server, method: str, path: str, status: int) -> None:
    detail = check_error(httpx.request(method, f"{server.url}{path}"), status, "not_found")
    assert path in detail["message"]


def test_a_system_prompt_of_200_kib(server: Server, api: StandIn) -> None:
    """Longer than a command line's argument may be."""
    prompt = "word " * 41_000
    body = {"messages": [{"role": "system", "content": prompt}, *HI]}
    assert post(server, body).status_code == 200
    assert api.last.system_texts[-1] == prompt


def test_a_question_of_a_megabyte(server: Server, api: StandIn) -> None:
    question = "0123456789abcdef" * 65_536
    assert post(server, {"messages": [{"role": "user", "content": question}]}).status_code == 200
    # The answer is as long, and cut: the CLI may have asked once more to go on.
    assert api.turns[0].last_user_text == question


@pytest.mark.parametrize(
    "text",
    [
        "/clear",
        "/config verbose=true",
        "/compact now",
        "@/etc/passwd",
        "read @~/.bashrc and @../x please",
        "```\n@/etc/hosts\n```",
        "!id",
        "#note",
        "-p",
        "--help",
        "$(id)",
        "exit",
        "ultrathink about it",
        "line\n/clear",
        "nul \0 in it",
        '{"type":"bash_command","command":"id"}',
    ],
)
def test_nothing_in_a_message_is_interpreted(server: Server, api: StandIn, text: str) -> None:
    """In the question, in history and in the system prompt."""
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": text},
        {"role": "assistant", "content": text},
        {"role": "user", "content": text},
    ]
    assert post(server, {"messages": messages}).status_code == 200
    assert len(api.turns) == 1
    sent = api.last
    assert [(role, said.removeprefix(" ")) for role, said in sent.conversation] == [
        ("user", text),
        ("assistant", text),
        ("user", text),
    ]
    assert sent.system_texts[-1] == text
    assert b"root:" not in sent.raw and b"localhost" not in sent.raw


def test_a_file_that_is_named_is_not_opened(server: Server, api: StandIn, tmp_path: Path) -> None:
    """A pipe without a writer would hang whoever opens it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("the content of a file")
    texts = [f"@{tmp_path}/pipe", f'read @"{tmp_path}/file" and @{tmp_path}/', f"@{tmp_path}/file"]
    for text in texts:
        assert post(server, {"messages": [{"role": "user", "content": text}]}).status_code == 200
        assert api.last.last_user_text == text
    assert not any(b"the content of a file" in turn.raw for turn in api.turns)


def test_the_operators_settings_stay_as_they_are(server: Server, api: StandIn) -> None:
    """Commands of the CLI would write them."""
    places = [path for path in server.home.rglob("settings*.json") if path.is_file()]
    for text in ("/config verbose=true", "/model opus", "/compact", "/clear"):
        assert post(server, {"messages": [{"role": "user", "content": text}]}).status_code == 200
        assert api.last.last_user_text == f" {text}"
    assert [path for path in server.home.rglob("settings*.json") if path.is_file()] == places == []


def test_a_body_over_the_limit(server: Server, api: StandIn) -> None:
    """Told from its declared length, and counted where none is declared."""
    big = b'{"messages": [{"role": "user", "content": "' + b"x" * (21 * 1024 * 1024) + b'"}]}'
    check_error(post(server, big), 413, "request_too_large")
    pieces = (big[i : i + 65536] for i in range(0, len(big), 65536))
    url = f"{server.base_url}/chat/completions"
    answer = httpx.post(url, content=pieces, headers=JSON, timeout=PATIENCE)
    check_error(answer, 413, "request_too_large")
    assert api.turns == []


def test_a_head_over_the_limit(server: Server) -> None:
    for headers in ({"x": "x" * 70_000}, {f"x-{number}": "x" for number in range(2_000)}):
        refused = httpx.get(f"{server.url}/health", headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (431, "headers_too_large")


def test_very_many_messages(server: Server, api: StandIn) -> None:
    messages = [{"role": "user", "content": "a"}] * MAX_LENGTH
    assert post(server, {"messages": messages}).status_code == 200
    assert server.health()["slots"]["running"] == 0


def test_the_request_id_is_the_clients(server: Server) -> None:
    named = httpx.get(f"{server.url}/health", headers={"x-request-id": "mine-1"})
    assert named.headers["x-request-id"] == "mine-1"
    made = httpx.get(f"{server.url}/health", headers={"x-request-id": "not a good one"})
    assert made.headers["x-request-id"].startswith("req_")


def test_one_log_line_a_request_and_no_prompt_in_it(server: Server, api: StandIn) -> None:
    seen = len(server.output)
    api.push("A secret answer.")
    post(server, {"model": "sonnet", "messages": [{"role": "user", "content": "my secret"}]})
    server.wait_for_line("/v1/chat/completions", seen)
    lines = [line for line in server.output[seen:] if "request" in line]
    assert len(lines) == 1
    for fact in ("model=sonnet", "outcome=ok", "prompt_tokens=", "cost_usd=", "retries=0", "ms=", "id=req_"):
        assert fact in lines[0]
    assert "secret" not in "\n".join(server.output)


def test_the_openapi_document_is_whole(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert scheme == {"type": "http", "scheme": "bearer"} and {} in document["security"]
    assert set(document["paths"]) >= {
        *("/v1/chat/completions", "/v1/models", "/v1/models/{model_id}", "/health", "/livez", "/readyz")
    }
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "session_id" in document["components"]["schemas"][name]["properties"]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_only_a_system_message_is_answered(server: Server, api: StandIn, role: str) -> None:
    """The smallest example of OpenAI's own. A line of the user's is added, and said."""
    answer = post(server, {"messages": [{"role": role, "content": "Say hi."}]})
    assert answer.status_code == 200
    assert answer.json()["x_claude"]["notices"] == [
        "the messages hold nothing of the user's: 'Please go ahead.' was asked"
    ]
    assert api.last.system_texts[-1] == "Say hi."
    assert api.last.conversation == [("user", "Please go ahead.")]


def test_results_as_system_messages_keep_the_cache(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """As gptme gives them: the prompt is the same in every round, so all of the
    rounds before is read from the cache."""
    messages = [
        {"role": "system", "content": "You are an agent. " * 50},
        {"role": "user", "content": "Look around."},
    ]
    home = tmp_path / "home"
    with serving(home, clean_environment(home, api.url, CLAUDE_BIN=str(each_cli))) as server:
        before: list[tuple[str, str]] = []
        written = 0
        for number in range(5):
            api.push(f"Step {number}.")
            answer = post(server, {"model": "sonnet", "messages": messages}).json()
            assert api.last.system_texts[-1] == messages[0]["content"]
            assert api.last.conversation[: len(before)] == before
            before = api.last.conversation
            assert api.last.usage.cache_read_input_tokens >= written
            if number:
                result = f"<system-message>\nResult {number - 1}\n</system-message>"
                assert before[-2:] == [("assistant", f"Step {number - 1}."), ("user", result)]
                assert answer["x_claude"]["notices"]
            written = api.last.usage.cache_read_input_tokens + api.last.usage.cache_creation_input_tokens
            messages += [
                {"role": "assistant", "content": f"Step {number}."},
                {"role": "system", "content": f"Result {number}"},
            ]


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [("utf-8-sig", ""), ("utf-16", ""), ("utf-32", ""), ("latin-1", "; charset=ISO-8859-1")],
)
def test_bodies_in_other_encodings(server: Server, api: StandIn, encoding: str, charset: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "Grüße"}]}, ensure_ascii=False)
    for path, told in (("chat/completions", "x_claude"), ("debug/request", "debug_info")):
        answer = httpx.post(
            f"{server.base_url}/{path}",
            content=body.encode(encoding),
            headers={"content-type": f"application/json{charset}"},
            timeout=PATIENCE,
        )
        assert answer.status_code == 200 and told in answer.json(), answer.text
    assert api.last.last_user_text == "Grüße"


def test_a_body_in_an_encoding_that_is_not_taken(server: Server, api: StandIn) -> None:
    for headers, named in (
        ({"content-type": "application/json; charset=shift_jis"}, "shift_jis"),
        ({**JSON, "content-encoding": "gzip"}, "gzip"),
    ):
        url = f"{server.base_url}/chat/completions"
        answer = httpx.post(url, content=b'{"messages": "\x83\x65"}', headers=headers, timeout=PATIENCE)
        assert named in check_error(answer, 400, "invalid_request_error")["message"]
    assert api.turns == []


def picture(width: int, height: int) -> str:
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (picture(30_000, 300), "30000 x 300 pixels"),
        (picture(9, 9)[:50], "damaged"),
        (picture(0, 5), "damaged"),
    ],
)
def test_a_picture_that_would_not_arrive(server: Server, api: StandIn, url: str, told: str) -> None:
    """The CLI would put a text in its place, and nobody would know."""
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = post(server, {"messages": [{"role": "user", "content": parts}]})
    detail = check_error(answer, 400, "invalid_request_error")
    assert detail["param"] == "messages[0].content[1].image_url" and told in detail["message"]
    assert api.turns == []


def test_a_large_picture_arrives_as_one(server: Server, api: StandIn) -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": picture(8000, 4000)}]
    assert post(server, {"messages": [{"role": "user", "content": parts}]}).status_code == 200
    asked = next(m["content"] for m in api.last.messages if m["role"] == "user" and len(m["content"]) > 1)
    assert [block["type"] for block in asked][:2] == ["text", "image"]


def test_the_fields_of_anthropics_api(server: Server, api: StandIn) -> None:
    """A prompt that was passed over in silence would be lost."""
    body = {
        "messages": [{"role": "system", "content": "THEIRS"}, *HI],
        "system": [{"type": "text", "text": "FIRST"}, {"type": "text", "text": " "}],
        **{"stop": ["END"], "stop_sequences": ["STOP", "END"], "thinking": {"type": "disabled"}},
    }
    answer = post(server, body)
    assert answer.status_code == 200 and "x-ignored-params" not in answer.headers
    sent = api.last.body
    assert sent["stop_sequences"] == ["END", "STOP"]
    assert sent.get("thinking", {"type": "disabled"})["type"] == "disabled"
    assert json.dumps(sent["system"]).count("FIRST\\n\\nTHEIRS") == 1
    answer = post(server, {"messages": HI, "system": "FIRST", "thinking": {"type": "adaptive"}})
    assert answer.headers["x-ignored-params"] == "thinking"
    assert "FIRST" in json.dumps(api.last.body["system"])
