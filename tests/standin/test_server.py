"""The running stand-in, as an HTTP client sees it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiError, ApiRequest, Cut, Reply, Silence, StandIn, StreamError, ToolUse

BODY: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**BODY, "stream": True}
MARKED = [{"type": "text", "text": "a" * 40, "cache_control": {"type": "ephemeral"}}]


@pytest.fixture
def client(api: StandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, headers={"x-api-key": "sk-made-up"}, timeout=30) as made:
        yield made


def ask(client: httpx.Client, body: dict[str, Any] = BODY) -> httpx.Response:
    return client.post("/v1/messages?beta=true", json=body)


def text(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["content"][0]["text"])


def test_a_whole_message(api: StandIn, client: httpx.Client) -> None:
    response = ask(client)
    assert text(response) == "You said: hello"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["request-id"].startswith("req_")
    assert response.headers["anthropic-organization-id"]
    request = api.last
    assert api.wait_ended(request) == "complete"
    assert (request.number, request.method, request.path) == (1, "POST", "/v1/messages")
    assert (request.query, request.model, request.body) == ("beta=true", "m", BODY)
    assert json.loads(request.raw) == BODY
    assert request.headers["x-api-key"] == "***"
    assert 0 <= time.monotonic() - request.at < 30


def test_a_stream(api: StandIn, client: httpx.Client) -> None:
    api.push(Reply.of("Hello there", chunk_chars=6, headers={"x-more": "yes"}))
    response = ask(client, STREAM)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-more"] == "yes"
    names = [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event")]
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 2,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_ids_differ(client: httpx.Client) -> None:
    with StandIn() as other:
        ids = {ask(client).json()["id"], ask(client).json()["id"]}
        response = httpx.post(f"{other.url}/v1/messages", json=BODY, headers={"x-api-key": "k"})
        assert len(ids | {response.json()["id"]}) == 3


def test_the_queue_comes_before_the_responder(api: StandIn, client: httpx.Client) -> None:
    api.responder = lambda request: f"{request.number}: {request.last_user_text}"
    api.push("first", Reply.of("second"))
    assert [text(ask(client)) for _ in range(3)] == ["first", "second", "3: hello"]
    api.responder = lambda request: ApiError.overloaded()
    assert ask(client).status_code == 529


def test_delays_are_kept(api: StandIn, client: httpx.Client) -> None:
    api.push(Reply.of("abcd", chunk_chars=2, first_delay=0.05, delay=0.05))
    begun = time.monotonic()
    arrived = []
    with client.stream("POST", "/v1/messages", json=STREAM) as response:
        arrived = [time.monotonic() - begun for _ in response.iter_raw()]
    assert arrived[0] >= 0.05
    assert arrived[-1] >= 0.10
    begun = time.monotonic()
    api.push(Reply.of("abcd", chunk_chars=2, first_delay=0.05, delay=0.05))
    assert text(ask(client)) == "abcd"
    assert time.monotonic() - begun >= 0.10


def test_a_stream_can_stay_open_after_its_end(api: StandIn, client: httpx.Client) -> None:
    api.push(Reply.of("abcd", linger=0.1))
    with client.stream("POST", "/v1/messages", json=STREAM) as response:
        pieces = response.iter_raw()
        assert b"message_stop" in next(pieces)
        begun = time.monotonic()
        assert list(pieces) == []
        assert time.monotonic() - begun >= 0.05
    assert api.wait_ended(api.last) == "complete"


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_errors(api: StandIn, client: httpx.Client, body: dict[str, Any]) -> None:
    api.push(ApiError.rate_limited(7))
    response = ask(client, body)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    found = response.json()
    assert found["error"]["type"] == "rate_limit_error"
    assert found["request_id"] == response.headers["request-id"]
    assert api.wait_ended(api.last) == "error"


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_cut_answer_has_no_end(api: StandIn, client: httpx.Client, body: dict[str, Any]) -> None:
    api.push(Cut(after=Reply.of("abcdefgh", chunk_chars=None), chars=3))
    got = b""
    with (
        pytest.raises(httpx.RemoteProtocolError, match="without sending complete"),
        client.stream("POST", "/v1/messages", json=body) as response,
    ):
        for piece in response.iter_raw():
            got += piece
    assert got
    assert (b'"abc"' in got) == (body is STREAM)
    assert api.wait_ended(api.last) == "cut"


@pytest.mark.parametrize("answer", [Cut(chars=None), Silence(seconds=0.05)])
def test_no_answer_at_all(api: StandIn, client: httpx.Client, answer: Cut | Silence) -> None:
    api.push(answer)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        ask(client, STREAM)
    assert api.wait_ended(api.last) == "cut"
    assert text(ask(client)) == "You said: hello"


def test_silence_after_some_text_until_the_client_leaves(api: StandIn, client: httpx.Client) -> None:
    api.push(Silence(after=Reply.of("abcdefgh", chunk_chars=None), chars=3))
    with client.stream("POST", "/v1/messages", json=STREAM) as response:
        pieces = response.iter_raw()
        assert b'"abc"' in next(pieces)
        assert api.last.outcome == "pending"
    assert api.wait_ended(api.last) == "client_left"


def test_a_client_that_leaves_between_two_deltas(api: StandIn, client: httpx.Client) -> None:
    api.push(Reply.of("abcd", chunk_chars=2, delay=30))
    with client.stream("POST", "/v1/messages", json=STREAM) as response:
        assert b'"ab"' in next(response.iter_raw())
    assert api.wait_ended(api.last) == "client_left"


def test_an_error_in_the_stream(api: StandIn, client: httpx.Client) -> None:
    api.push(StreamError(after=Reply.of("abcdefgh"), chars=3))
    response = ask(client, STREAM)
    assert response.status_code == 200
    assert response.text.splitlines()[-3] == "event: error"
    assert json.loads(response.text.splitlines()[-2].removeprefix("data: "))["error"] == {
        "type": "overloaded_error",
        "message": "Overloaded",
    }
    assert api.wait_ended(api.last) == "error"


def test_an_error_as_the_first_event(api: StandIn, client: httpx.Client) -> None:
    api.push(StreamError(chars=None, type="authentication_error", message="OAuth token has expired."))
    response = ask(client, STREAM)
    assert (response.status_code, response.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    first, data, *_ = response.text.splitlines()
    assert first == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["message"] == "OAuth token has expired."
    assert "message_start" not in response.text


@pytest.mark.parametrize(("kind", "status"), [("overloaded_error", 529), ("api_error", 500), ("odd", 500)])
def test_the_same_without_a_stream(api: StandIn, client: httpx.Client, kind: str, status: int) -> None:
    api.push(StreamError(type=kind, message="oh"))
    response = ask(client)
    assert (response.status_code, response.json()["error"]) == (status, {"type": kind, "message": "oh"})


def test_usage_tells_what_was_cached(api: StandIn, client: httpx.Client) -> None:
    body = {**BODY, "messages": [{"role": "user", "content": MARKED}]}
    usages = [ask(client, body).json()["usage"] for _ in range(2)]
    assert [(u["cache_creation_input_tokens"], u["cache_read_input_tokens"]) for u in usages] == [
        (10, 0),
        (0, 10),
    ]
    assert [r.usage.cache_read_input_tokens for r in api.turns] == [0, 10]
    assert [r.cache_hit for r in api.turns] == ["", "messages.0.content.0"]
    assert usages[0]["cache_creation"] == {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 0}
    api.clear_cache()
    assert ask(client, body).json()["usage"]["cache_read_input_tokens"] == 0


def test_an_answer_that_never_began_caches_nothing(api: StandIn, client: httpx.Client) -> None:
    body = {**BODY, "messages": [{"role": "user", "content": MARKED}]}
    api.push(ApiError.overloaded())
    assert ask(client, body).status_code == 529
    assert ask(client, body).json()["usage"]["cache_read_input_tokens"] == 0


def test_too_short_to_cache() -> None:
    body = {**BODY, "messages": [{"role": "user", "content": MARKED}]}
    with StandIn(minimum_cache_tokens=1024) as api:
        response = httpx.post(f"{api.url}/v1/messages", json=body, headers={"x-api-key": "k"})
        assert response.json()["usage"]["cache_creation_input_tokens"] == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "not valid JSON"),
        (b"{}", "model: Field required"),
        (json.dumps({**BODY, "messages": [{"role": "user", "content": [1]}]}).encode(), "wrong shape"),
        (
            json.dumps({**BODY, "messages": [{"role": "user", "content": MARKED * 5}]}).encode(),
            "maximum of 4",
        ),
    ],
)
def test_bad_requests_use_up_nothing(api: StandIn, client: httpx.Client, body: bytes, words: str) -> None:
    api.push("still there")
    response = client.post("/v1/messages", content=body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert words in response.json()["error"]["message"]
    assert text(ask(client)) == "still there"


def test_rules_can_be_left_out() -> None:
    with StandIn(strict=False) as api:
        response = httpx.post(f"{api.url}/v1/messages", json={}, headers={"x-api-key": "k"})
        assert text(response) == "You said: "


def test_a_body_over_the_limit_of_the_api(api: StandIn, client: httpx.Client) -> None:
    api.app.max_body = 100
    response = ask(client, {**BODY, "system": "x" * 100})
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": "good"}, 200),
        ({"authorization": "Bearer good"}, 200),
        ({"x-api-key": "bad"}, 401),
        ({"authorization": "Bearer bad"}, 401),
        ({"authorization": "Basic good"}, 401),
    ],
)
def test_keys(headers: dict[str, str], status: int) -> None:
    with StandIn(keys=["good"]) as api:
        response = httpx.post(f"{api.url}/v1/messages", json=BODY, headers=headers)
        assert response.status_code == status
        assert not {"good", "bad"} & set(" ".join(api.last.headers.values()).split())


def test_any_key_will_do_but_one_has_to_be_there(api: StandIn) -> None:
    response = httpx.post(f"{api.url}/v1/messages", json=BODY)
    assert response.status_code == 401
    assert response.json()["error"] == {
        "type": "authentication_error",
        "message": "x-api-key header is required",
    }


def test_what_else_the_cli_asks_for(api: StandIn, client: httpx.Client) -> None:
    counted = client.post("/v1/messages/count_tokens", json={**BODY, "system": "abcd"})
    assert counted.json() == {"input_tokens": 3}
    listed = client.get("/v1/models").json()
    assert [m["type"] for m in listed["data"]] == ["model"] * len(listed["data"])
    assert listed["first_id"] == listed["data"][0]["id"]
    assert client.get("/v1/models/some-model").json()["id"] == "some-model"
    assert client.head("/").status_code == 404
    missing = client.post("/api/event_logging/batch", json={"events": []})
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    assert client.get("/v1/messages").status_code == 404
    assert [r.path for r in api.requests] == [
        "/v1/messages/count_tokens",
        "/v1/models",
        "/v1/models/some-model",
        "/",
        "/api/event_logging/batch",
        "/v1/messages",
    ]
    assert api.turns == []
    with pytest.raises(IndexError):
        _ = api.last


def test_a_failing_responder_is_visible() -> None:
    def fail(request: ApiRequest) -> str:
        raise AssertionError("not what I expected")

    with StandIn(responder=fail) as api:
        response = httpx.post(f"{api.url}/v1/messages", json=BODY, headers={"x-api-key": "k"})
        assert response.status_code == 500
        assert "not what I expected" in response.json()["error"]["message"]
        assert [str(e) for e in api.failures] == ["not what I expected"]


def test_a_fault_of_the_stand_in_is_visible() -> None:
    # A header that HTTP can't carry can't be sent.
    with StandIn(responder=lambda request: Reply.of("x", headers={"x": "\u2713"})) as api:
        response = httpx.post(f"{api.url}/v1/messages", json=BODY, headers={"x-api-key": "k"})
        assert response.status_code == 500
        assert [type(e) for e in api.failures] == [UnicodeEncodeError]
        assert api.last.outcome == "error"


def test_waiting_for_turns(api: StandIn, client: httpx.Client) -> None:
    with pytest.raises(TimeoutError, match=r"0 of 1 turns after 0\.0 s"):
        api.wait_for_turns(1, timeout=0.0)
    asking = threading.Thread(target=lambda: [ask(client) for _ in range(2)])
    asking.start()
    assert len(api.wait_for_turns(2)) >= 2
    asking.join()
    api.clear()
    with pytest.raises(TimeoutError):
        api.wait_for_turns(1, timeout=0.0)
    ask(client)
    assert [r.number for r in api.wait_for_turns(1)] == [3]
    assert api.requests_seen == 3


def test_waiting_for_an_end_has_an_end(api: StandIn, client: httpx.Client) -> None:
    api.push(Silence(chars=1))
    with client.stream("POST", "/v1/messages", json=STREAM), pytest.raises(TimeoutError, match="goes on"):
        api.wait_ended(api.last, timeout=0.0)


def test_clearing_empties_the_queue(api: StandIn, client: httpx.Client) -> None:
    api.push("never said")
    api.clear()
    assert text(ask(client)) == "You said: hello"


def test_a_shared_stand_in_can_be_made_like_new() -> None:
    body = {**BODY, "messages": [{"role": "user", "content": MARKED}]}
    with StandIn(responder=lambda request: "mine") as api, httpx.Client(base_url=api.url) as client:
        client.headers["x-api-key"] = "k"
        ask(client, body)
        api.responder = lambda request: str(1 // 0)
        assert ask(client).status_code == 500
        api.push("never said")
        api.reset()
        assert (api.requests, api.failures) == ([], [])
        message = ask(client, body).json()
        assert message["content"][0]["text"] == "mine"
        assert message["usage"]["cache_read_input_tokens"] == 0
        assert api.requests_seen == 3


def test_many_at_once(api: StandIn) -> None:
    async def all_at_once() -> list[str]:
        limits = httpx.Limits(max_connections=100)
        headers = {"x-api-key": "k"}
        async with httpx.AsyncClient(base_url=api.url, headers=headers, limits=limits, timeout=60) as client:
            bodies = [{**BODY, "messages": [{"role": "user", "content": f"q{i}"}]} for i in range(100)]
            return [
                text(r) for r in await asyncio.gather(*[client.post("/v1/messages", json=b) for b in bodies])
            ]

    assert asyncio.run(all_at_once()) == [f"You said: q{i}" for i in range(100)]
    assert len(api.turns) == 100


def test_a_tool_call_without_a_stream(api: StandIn, client: httpx.Client) -> None:
    api.push(Reply.of("Let me see.", ToolUse("f", {"a": 1})))
    message = ask(client).json()
    assert message["stop_reason"] == "tool_use"
    assert [b["type"] for b in message["content"]] == ["text", "tool_use"]
    assert message["content"][1]["input"] == {"a": 1}


async def test_the_application_by_itself(api: StandIn) -> None:
    transport = httpx.ASGITransport(app=api.app)
    headers = {"x-api-key": "k"}
    async with httpx.AsyncClient(transport=transport, base_url="http://standin", headers=headers) as client:
        assert text(await client.post("/v1/messages", json=BODY)) == "You said: hello"
    with pytest.raises(RuntimeError, match="HTTP only, not lifespan"):
        await api.app({"type": "lifespan"}, never, never)


async def never(*_: object) -> Any:
    raise AssertionError("called")
