"""Every client chats and streams; what it asked has reached the API."""

from __future__ import annotations

from typing import Any

import pytest

from claude_server.standin import ApiError, Reply, StandIn, Text, Thinking
from tests.clients.conftest import Start
from tests.clients.environments import NODE
from tests.clients.program import Program
from tests.clients.scenes import PNG, blocks

HISTORY = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "I am Ada."},
    {"role": "assistant", "content": "Hello Ada."},
    {"role": "user", "content": "Who am I?"},
]
PAIRS = [[message["role"], message["content"]] for message in HISTORY]
SAID = [(message["role"], message["content"]) for message in HISTORY[1:]]
COUNTED = "One, two, three, four."


@pytest.fixture
def slowly(api: StandIn) -> None:
    """The next answer comes in pieces."""
    api.push(Reply.of(COUNTED, chunk_chars=5, output_tokens=9))


def check_history(api: StandIn) -> None:
    assert len(api.turns) == 1
    assert api.last.conversation == SAID
    assert api.last.system_texts[-1] == "You are terse."


def check_pieces(texts: list[str]) -> None:
    assert "".join(texts) == COUNTED
    assert len([text for text in texts if text]) > 1


def test_openai(openai: Program, api: StandIn) -> None:
    api.push(Reply.of("Ada.", output_tokens=3))
    answer = openai("create", messages=HISTORY)
    assert answer["choices"][0]["message"]["content"] == "Ada."
    assert answer["usage"]["completion_tokens"] == 3
    check_history(api)


def test_openai_with_asyncio(start: Start, api: StandIn) -> None:
    api.push("Ada.")
    answer = start("openai", "with_openai.py")("create_async", messages=HISTORY)
    assert answer["choices"][0]["message"]["content"] == "Ada."


@pytest.mark.usefixtures("slowly")
def test_openai_streamed(openai: Program) -> None:
    got = openai("pieces", messages=HISTORY, stream_options={"include_usage": True})
    check_pieces(got["texts"])
    assert got["usage"]["completion_tokens"] == 9


@pytest.mark.usefixtures("slowly")
def test_openai_stream_helper(openai: Program) -> None:
    got = openai("streamed", messages=HISTORY)
    (choice,) = got["answer"]["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (COUNTED, "stop")
    assert {"content.delta", "content.done"} <= set(got["events"])


def test_openai_errors(openai: Program, api: StandIn) -> None:
    api.push(ApiError.rate_limited())
    limited = {"kind": "RateLimitError", "code": "rate_limit_exceeded", "param": None}
    assert openai("error", messages=HISTORY) == limited
    refused = {"kind": "BadRequestError", "code": "unsupported_parameter", "param": "logprobs"}
    assert openai("error", messages=HISTORY, logprobs=True) == refused


def test_openai_models(openai: Program) -> None:
    assert {"default", "sonnet", "haiku"} <= set(openai("models"))


def test_ai_sdk(start: Start, api: StandIn) -> None:
    api.push(Reply.of("Ada.", output_tokens=3))
    got = start(NODE, "with_ai_sdk.mjs")("generate", system="You are terse.", prompt="Who am I?")
    assert (got["text"], got["finish"], got["usage"]["outputTokens"]) == ("Ada.", "stop", 3)
    assert api.last.conversation == [("user", "Who am I?")]
    assert api.last.system_texts[-1] == "You are terse."


@pytest.mark.usefixtures("slowly")
def test_ai_sdk_streamed(start: Start) -> None:
    got = start(NODE, "with_ai_sdk.mjs")("stream", prompt="Count.")
    check_pieces(got["texts"])
    assert got["finish"] == "stop"


def test_pydantic_ai(start: Start, api: StandIn) -> None:
    """Each of its system prompts is a message of its own."""
    api.push(Reply.of("Ada.", output_tokens=3))
    program = start("openai", "with_pydantic_ai.py")
    got = program("run", prompt="Who am I?", instructions=["You are terse.", "You are kind."])
    assert got == {"text": "Ada.", "tokens": 3}
    assert api.last.system_texts[-1] == "You are terse.\n\nYou are kind."


@pytest.mark.usefixtures("slowly")
def test_pydantic_ai_streamed(start: Start) -> None:
    check_pieces(start("openai", "with_pydantic_ai.py")("stream", prompt="Count.")["texts"])


def test_langchain(start: Start, api: StandIn) -> None:
    api.push(Reply.of("Ada.", output_tokens=3))
    got = start("langchain", "with_langchain.py")("invoke", messages=PAIRS)
    assert got["text"] == "Ada." and got["usage"]["output_tokens"] == 3
    check_history(api)


@pytest.mark.usefixtures("slowly")
def test_langchain_streamed(start: Start) -> None:
    check_pieces(start("langchain", "with_langchain.py")("stream", prompt="Count.")["texts"])


def test_llamaindex(start: Start, api: StandIn) -> None:
    api.push("Ada.")
    assert start("llamaindex", "with_llamaindex.py")("chat", messages=PAIRS) == {"text": "Ada."}
    check_history(api)


def test_llamaindex_completes(start: Start, api: StandIn) -> None:
    """Told that it is a chat model, it completes by chat."""
    api.push("Ada.")
    assert start("llamaindex", "with_llamaindex.py")("complete", prompt="Who am I?") == {"text": "Ada."}


@pytest.mark.parametrize("case", ["stream", "stream_async"])
@pytest.mark.usefixtures("slowly")
def test_llamaindex_streamed(start: Start, case: str) -> None:
    check_pieces(start("llamaindex", "with_llamaindex.py")(case, prompt="Count.")["texts"])


@pytest.mark.parametrize("case", ["completion", "acompletion"])
def test_litellm(start: Start, api: StandIn, case: str) -> None:
    api.push(Reply.of("Ada.", output_tokens=3))
    answer: Any = start("litellm", "with_litellm.py")(case, messages=HISTORY)
    assert answer["choices"][0]["message"]["content"] == "Ada."
    assert answer["usage"]["completion_tokens"] == 3
    check_history(api)


@pytest.mark.usefixtures("slowly")
def test_litellm_streamed(start: Start) -> None:
    options = {"include_usage": True}
    got = start("litellm", "with_litellm.py")("stream", messages=HISTORY, stream_options=options)
    check_pieces(got["texts"])
    assert got["answer"]["choices"][0]["message"]["content"] == COUNTED
    assert got["answer"]["usage"]["completion_tokens"] == 9


def test_litellm_errors(start: Start, api: StandIn) -> None:
    api.push(ApiError.rate_limited())
    got = start("litellm", "with_litellm.py")("error", messages=HISTORY)
    assert got == {"kind": "RateLimitError"}


@pytest.fixture
def thoughtful(api: StandIn) -> None:
    api.responder = lambda request: Reply.of(Thinking("Who asks?"), Text("Ada."))


REASONED = {"text": "Ada.", "reasoning": "Who asks?"}


@pytest.mark.usefixtures("thoughtful")
def test_ai_sdk_shows_reasoning(start: Start) -> None:
    got = start(NODE, "with_ai_sdk.mjs")("reasoning", prompt="Who am I?")
    assert got == {"whole": REASONED, "streamed": REASONED}


@pytest.mark.usefixtures("thoughtful")
def test_pydantic_ai_shows_reasoning(start: Start) -> None:
    assert start("openai", "with_pydantic_ai.py")("reasoning", prompt="Who am I?") == REASONED


@pytest.mark.usefixtures("thoughtful")
def test_litellm_shows_reasoning(start: Start) -> None:
    answer = start("litellm", "with_litellm.py")("completion", messages=HISTORY)
    assert answer["choices"][0]["message"]["reasoning_content"] == "Who asks?"


def test_ai_sdk_sends_a_picture(start: Start, api: StandIn) -> None:
    api.push("A dot.")
    assert start(NODE, "with_ai_sdk.mjs")("see", prompt="What is it?", image=PNG) == {"text": "A dot."}
    (image,) = blocks(api.last, "image")
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}


def test_openai_asks_for_several_answers(openai: Program, api: StandIn) -> None:
    api.responder = lambda request: Reply.of("One. Two.")
    answer = openai("create", messages=HISTORY, n=2, stop=[" Two"])
    said = [(choice["index"], choice["message"]["content"]) for choice in answer["choices"]]
    assert said == [(0, "One."), (1, "One.")] and len(api.turns) == 2
