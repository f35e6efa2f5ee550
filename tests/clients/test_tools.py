"""Every client has a tool called and hands in the result; the API sees the tool, the call and the result."""

from __future__ import annotations

import pytest

from claude_server.standin import StandIn
from tests.clients.conftest import Start
from tests.clients.environments import NODE
from tests.clients.program import Program
from tests.clients.scenes import ANSWER, CALL, RESULT, WEATHER, check_weather, play_weather

ASKED = [{"role": "user", "content": WEATHER}]


@pytest.fixture(autouse=True)
def weather(api: StandIn) -> None:
    play_weather(api)


@pytest.mark.parametrize("stream", [False, True])
def test_openai(openai: Program, api: StandIn, stream: bool) -> None:
    """By Node's tool runner; by hand in Python."""
    assert openai("tools", messages=ASKED, stream=stream) == {"text": ANSWER, "calls": [CALL]}
    check_weather(api)


@pytest.mark.parametrize("case", ["tools", "tools_streamed"])
def test_ai_sdk(start: Start, api: StandIn, case: str) -> None:
    got = start(NODE, "with_ai_sdk.mjs")(case, prompt=WEATHER)
    assert got == {"text": ANSWER, "calls": [CALL], "results": [RESULT]}
    check_weather(api)


@pytest.mark.parametrize("case", ["tools", "tools_streamed"])
def test_pydantic_ai(start: Start, api: StandIn, case: str) -> None:
    assert start("openai", "with_pydantic_ai.py")(case, prompt=WEATHER) == {"text": ANSWER}
    check_weather(api)


def test_langchain(start: Start, api: StandIn) -> None:
    got = start("langchain", "with_langchain.py")("agent", prompt=WEATHER)
    assert got == {"text": ANSWER, "kinds": ["human", "ai", "tool", "ai"]}
    check_weather(api)


def test_langchain_streamed(start: Start, api: StandIn) -> None:
    got = start("langchain", "with_langchain.py")("agent_streamed", prompt=WEATHER)
    assert "".join(got["texts"]) == f"I look.{ANSWER}"
    check_weather(api)


def test_llamaindex(start: Start, api: StandIn) -> None:
    got = start("llamaindex", "with_llamaindex.py")("tools", prompt=WEATHER)
    assert got == {"text": ANSWER, "calls": [CALL]}
    check_weather(api)


@pytest.mark.parametrize("stream", [False, True])
def test_litellm(start: Start, api: StandIn, stream: bool) -> None:
    got = start("litellm", "with_litellm.py")("tools", messages=ASKED, stream=stream)
    assert got == {"text": ANSWER, "calls": [CALL]}
    check_weather(api)
