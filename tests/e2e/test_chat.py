"""Chat through the real CLI: what the client gets, and what reached the API."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from claude_server.standin import Answer, ApiError, Cut, Reply, Silence, StandIn, StreamError, Text, Thinking
from tests.support import PATIENCE, Server, clean_environment, serving

LONG = "The quick brown fox — señor 狐 🦊 — jumps over the lazy dog. " * 8


def ask(server: Server, *texts: str, **options: object) -> openai.types.chat.ChatCompletion:
    """Ask with alternating messages of the user and the assistant."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return server.client().chat.completions.create(model="sonnet", messages=messages, **options)  # type: ignore[call-overload,no-any-return]


def events(response: httpx.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]


def test_an_answer_with_real_counts(server: Server, api: StandIn) -> None:
    api.push(Reply.of("Hello there.", output_tokens=7))
    answer = server.client().chat.completions.create(
        model="sonnet",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
    )
    assert answer.choices[0].message.content == "Hello there."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "sonnet"
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    counted = api.last.usage
    assert answer.usage.completion_tokens == 7
    assert answer.usage.prompt_tokens == (
        counted.input_tokens + counted.cache_read_input_tokens + counted.cache_creation_input_tokens
    )
    details = answer.usage.prompt_tokens_details
    assert details.cached_tokens == counted.cache_read_input_tokens
    assert details.cache_write_tokens == counted.cache_creation_input_tokens > 0
    extra = answer.model_extra["x_claude"] if answer.model_extra else {}
    assert extra["model"] == api.last.model
    assert extra["cost_usd"] > 0 and extra["retries"] == 0 and extra["duration_ms"] > 0
    # The whole request, the CLI's own lines included, and nothing of tools or settings in it.
    assert len(api.last.raw) <= 2500
    assert api.last.tools == []
    assert api.last.system_texts[-1] == "Be brief."


def test_earlier_messages_are_real_messages(server: Server, api: StandIn) -> None:
    ask(server, "My name is Ada.", "Hello Ada.", "I like maths.", "So do I.", "What is my name?")
    assert api.last.conversation == [
        ("user", "My name is Ada."),
        ("assistant", "Hello Ada."),
        ("user", "I like maths."),
        ("assistant", "So do I."),
        ("user", "What is my name?"),
    ]
    assert len(api.turns) == 1


def test_live_streaming_gives_tokens_as_they_come(server: Server, api: StandIn) -> None:
    """The first delta is here while the API still withholds the rest."""
    api.push(Reply.of(LONG, delay=0.05, chunk_chars=24))
    stream = server.client().chat.completions.create(
        model="sonnet", messages=[{"role": "user", "content": "go"}], stream=True
    )
    texts = []
    pending_at_first = None
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            if pending_at_first is None:
                pending_at_first = api.last.outcome
            texts.append(chunk.choices[0].delta.content)
    assert pending_at_first == "pending"
    assert "".join(texts) == LONG
    assert len(texts) > 3


def test_the_shape_of_a_stream(server: Server, api: StandIn) -> None:
    api.push(Reply.of("One. Two."))
    body = {
        "model": "sonnet",
        "messages": [{"role": "user", "content": "count"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    response = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert response.headers["content-type"].startswith("text/event-stream")
    data = events(response)
    assert data[-1] == "[DONE]"
    chunks = [json.loads(line) for line in data[:-1]]
    assert {(c["id"], c["created"], c["model"], c["object"]) for c in chunks} == {
        (chunks[0]["id"], chunks[0]["created"], "sonnet", "chat.completion.chunk")
    }
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all("role" not in c["choices"][0]["delta"] for c in chunks[1:-1])
    assert chunks[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert all(c["usage"] is None for c in chunks[:-1])
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] > 0
    assert [("x_claude" in c) for c in chunks] == [False] * (len(chunks) - 1) + [True]


def test_without_include_usage_the_finish_chunk_is_last(server: Server, api: StandIn) -> None:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "count"}], "stream": True}
    chunks = [
        json.loads(line)
        for line in events(httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE))[
            :-1
        ]
    ]
    assert all("usage" not in c for c in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["x_claude"]["model"] == api.last.model


def test_buffered_mode_slices_the_whole_reply(server: Server, api: StandIn) -> None:
    api.push(Reply.of(LONG, chunk_chars=5))
    stream = server.client().chat.completions.create(
        model="sonnet",
        messages=[{"role": "user", "content": "go"}],
        stream=True,
        extra_body={"stream_mode": "buffered"},
    )
    texts = [c.choices[0].delta.content or "" for c in stream if c.choices]
    texts = [text for text in texts if text]
    assert "".join(texts) == LONG
    assert {len(text) for text in texts[:-1]} == {48}


def test_buffered_mode_retries_after_half_a_reply(server: Server, api: StandIn) -> None:
    api.push(Cut(Reply.of(LONG), chars=len(LONG) // 2), Reply.of("Second try."))
    stream = server.client().chat.completions.create(
        model="sonnet",
        messages=[{"role": "user", "content": "go"}],
        stream=True,
        extra_body={"stream_mode": "buffered"},
    )
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "Second try."
    assert len(api.turns) == 2


def test_live_mode_does_not_retry_after_the_first_token(server: Server, api: StandIn) -> None:
    api.push(Cut(Reply.of(LONG, delay=0.1), chars=60))
    stream = server.client().chat.completions.create(
        model="sonnet", messages=[{"role": "user", "content": "go"}], stream=True
    )
    texts: list[str] = []
    finishes: list[str | None] = []

    def read() -> None:
        for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")
            finishes.append(chunk.choices[0].finish_reason)

    with pytest.raises(openai.APIError) as caught:
        read()
    assert caught.value.code == "cli_failed"
    assert LONG.startswith("".join(texts)) and "".join(texts)
    assert set(finishes) == {None}
    assert len(api.turns) == 1


def test_live_mode_retries_before_the_first_token(server: Server, api: StandIn) -> None:
    api.push(ApiError(529), ApiError(500), Reply.of("Third time lucky."))
    stream = server.client().chat.completions.create(
        model="sonnet", messages=[{"role": "user", "content": "go"}], stream=True
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Third time lucky."
    assert (chunks[-1].model_extra or {})["x_claude"]["retries"] == 2
    assert len(api.turns) == 3


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code", "requests"),
    [
        (ApiError(529), 503, "overloaded", 3),
        (ApiError(500), 503, "overloaded", 3),
        (ApiError(429), 429, "rate_limit_exceeded", 3),
        (ApiError(403), 403, "model_not_permitted", 1),
        # The CLI itself asks twice before it believes that.
        (ApiError(404), 404, "model_not_found", 2),
        (ApiError(413), 413, "request_too_large", 1),
        (ApiError(400, message="tools.0: something odd"), 400, "invalid_request_error", 1),
        (ApiError.prompt_too_long(), 400, "context_length_exceeded", 1),
        (Cut(chars=0), 502, "cli_failed", 3),
    ],
)
def test_errors_have_their_own_status(
    server: Server, api: StandIn, error: Answer, status: int, code: str, requests: int, streamed: bool
) -> None:
    """Streamed too: the status is held back until the first token. Exactly retries + 1 requests."""
    api.push(*[error] * 6)
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    response = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert response.status_code == status, response.text
    detail = response.json()["error"]
    assert set(detail) == {"message", "type", "param", "code"} and detail["code"] == code
    assert detail["message"]
    assert response.headers["x-should-retry"] == ("true" if requests == 3 else "false")
    assert len(api.turns) == requests


def test_a_limit_with_its_reset_time(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """A subscription's limit, longer than a minute: not retried, and the client is told when it ends."""
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin))
    del environment["ANTHROPIC_API_KEY"]
    environment["CLAUDE_CODE_OAUTH_TOKEN"] = "sk-ant-oat01-made-up"
    api.push(ApiError.subscription_limit(resets_at=int(time.time()) + 3600))
    with serving(tmp_path / "home", environment) as server:
        body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]}
        response = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert response.status_code == 429
    assert 3500 <= int(response.headers["retry-after"]) <= 3600
    assert response.headers["x-should-retry"] == "false"
    assert "UTC" in response.json()["error"]["message"]
    assert len(api.turns) == 1


def test_requests_run_at_once_up_to_the_limit(server: Server, api: StandIn) -> None:
    """Eight slow requests on four slots: never more than four at the API, and all are answered."""
    api.push(*[Reply.of("ok", first_delay=0.3)] * 8)
    most = 0
    done = threading.Event()

    async def all_at_once() -> list[str | None]:
        client = AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0, timeout=PATIENCE)
        async with client:
            calls = [
                client.chat.completions.create(
                    model="sonnet", messages=[{"role": "user", "content": f"number {i}"}]
                )
                for i in range(8)
            ]
            return [a.choices[0].message.content for a in await asyncio.gather(*calls)]

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, sum(r.outcome == "pending" for r in api.turns))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert asyncio.run(all_at_once()) == ["ok"] * 8
    finally:
        done.set()
        watcher.join()
    assert 2 <= most <= 4
    assert server.health()["slots"] == {"capacity": 4, "running": 0}


def test_a_client_that_leaves_frees_its_slot(server: Server, api: StandIn) -> None:
    """Streaming, before the first token and in the middle; the upstream request is closed too."""
    for answer in (Silence(30), Reply.of(LONG, delay=5, chunk_chars=20)):
        api.clear()
        api.push(answer)
        body = {"model": "sonnet", "messages": [{"role": "user", "content": "go"}], "stream": True}
        with (
            httpx.Client(timeout=PATIENCE) as client,
            pytest.raises(httpx.ReadTimeout),
            client.stream(
                "POST",
                f"{server.base_url}/chat/completions",
                json=body,
                timeout=httpx.Timeout(PATIENCE, read=1.5),
            ) as response,
        ):
            response.read()
        assert api.wait_ended(api.wait_for_turns(1, PATIENCE)[0], PATIENCE) == "client_left"
        assert server.health()["slots"]["running"] == 0


def test_thinking_is_counted_and_not_mixed_into_the_answer(server: Server, api: StandIn) -> None:
    api.push(Reply.of(Thinking("Hmm, let me see."), Text("Seven.")))
    assert ask(server, "3+4?").choices[0].message.content == "Seven."


def test_an_answer_cut_at_its_limit_ends_with_length(server: Server, api: StandIn) -> None:
    api.push(Reply.of("Half of it", stop_reason="max_tokens"))
    answer = ask(server, "go")
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "Half of it"


def test_a_refusal_is_a_content_filter(server: Server, api: StandIn) -> None:
    api.push(Reply.of("I can't help with that.", stop_reason="refusal"))
    assert ask(server, "go").choices[0].finish_reason == "content_filter"
    # Newer CLIs ask the model once more, with words of their own; that answer is not the client's.
    assert len(api.turns) <= 2


def test_an_error_event_in_the_stream(server: Server, api: StandIn) -> None:
    api.push(StreamError(Reply.of(LONG), chars=0), Reply.of("fine"))
    assert ask(server, "go").choices[0].message.content == "fine"


def test_the_default_model_is_the_accounts(server: Server, api: StandIn) -> None:
    """A placeholder adds no model of ours; an alias and a full id are passed on."""
    models = []
    for name in ("default", "auto", "claude", "claude-cli", "", "haiku", "claude-sonnet-4-6"):
        server.client().chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}])
        models.append(api.last.model)
    assert len(set(models[:5])) == 1
    assert "haiku" in models[5]
    assert models[6] == "claude-sonnet-4-6"


def test_models_are_the_clis_own_and_the_aliases(server: Server) -> None:
    client = server.client()
    listed = [model.id for model in client.models.list()]
    assert {"default", "auto", "claude", "claude-cli", "best", "opus", "sonnet", "haiku"} <= set(listed)
    assert {"sonnet[1m]", "opus[1m]", "opusplan"} <= set(listed)
    assert any(name.startswith("claude-sonnet") for name in listed)
    assert len(listed) == len(set(listed))
    assert client.models.retrieve("sonnet[1m]").id == "sonnet[1m]"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4")
    assert caught.value.code == "model_not_found"


def test_an_answer_that_breaks_off_after_its_text(server: Server, api: StandIn) -> None:
    """The CLI would ask the model to go on, and the answer would hold its text twice."""
    whole = Reply.of("All of it.", chunk_chars=40)
    api.push(StreamError(whole, 60), whole, whole)
    url, body = f"{server.base_url}/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(url, json=body, timeout=PATIENCE).json()
    assert answer["choices"][0]["message"]["content"] == "All of it."
    assert answer["x_claude"]["retries"] == 1
    api.reset()
    api.push(StreamError(whole, 60), whole, whole)
    streamed = httpx.post(
        f"{server.base_url}/chat/completions", json={**body, "stream": True}, timeout=PATIENCE
    )
    assert streamed.text.count("All of it.") == 1
    assert '"cli_failed"' in streamed.text and "[DONE]" not in streamed.text
