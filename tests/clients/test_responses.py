"""Clients that ask /v1/responses, and those of the older completions."""

from __future__ import annotations

import pytest

from claude_server.standin import ApiRequest, Reply, StandIn, Thinking, ToolUse
from tests.clients.conftest import Start
from tests.clients.environments import NODE
from tests.clients.scenes import (
    ANSWER,
    CALL,
    LISBON,
    WEATHER,
    blocks,
    check_weather,
    play_lisbon,
    play_weather,
)

MORE = "And in Porto?"


def play_two_turns(api: StandIn) -> None:
    play_weather(api)
    api.push("Warm.", "Warmer.")


def check_followed(request: ApiRequest) -> None:
    """The whole first turn came before the second question."""
    assert [text for _, text in request.conversation] == [WEATHER, "I look.", ANSWER, MORE]
    assert len(blocks(request, "tool_use")) == len(blocks(request, "tool_result")) == 1


@pytest.mark.parametrize("case", ["tools", "tools_streamed"])
def test_agents(start: Start, api: StandIn, case: str) -> None:
    play_weather(api)
    assert start("agents", "with_agents_responses.py")(case, prompt=WEATHER)["text"] == ANSWER
    check_weather(api)


def test_agents_go_on(start: Start, api: StandIn) -> None:
    """By the id of a response; in a session of the client's, and in one that is a conversation here."""
    agents = start("agents", "with_agents_responses.py")
    play_two_turns(api)
    assert agents("follow", prompt=WEATHER, more=MORE) == {"text": "Warm."}
    check_followed(api.last)
    api.reset()
    api.push("one", "two", "three", "four")
    assert agents("sessions", prompt="1", more="2") == {"texts": ["two", "four"]}
    assert api.last.conversation == [("user", "1"), ("assistant", "three"), ("user", "2")]


def test_agents_hand_over(start: Start, api: StandIn) -> None:
    api.push(Reply.of(ToolUse("transfer_to_other", {})), "It is me.")
    got = start("agents", "with_agents_responses.py")("handoff", prompt="go")
    assert got == {"agent": "other", "text": "It is me."}


def test_agents_structured(start: Start, api: StandIn) -> None:
    play_lisbon(api)
    assert start("agents", "with_agents_responses.py")("structured", prompt="Lisbon") == LISBON


@pytest.mark.parametrize("stored", [True, False])
def test_ai_sdk_openai(start: Start, api: StandIn, stored: bool) -> None:
    """A loop by references to what is kept, or with all of it sent: the thought comes before its call."""
    api.push(Reply.of(Thinking("Which city?"), "I look.", ToolUse(*CALL)), ANSWER)  # type: ignore[arg-type]
    got = start(NODE, "with_ai_sdk_openai.mjs")("tools", prompt=WEATHER, stored=stored)
    assert got == {"text": ANSWER, "calls": [CALL]}
    check_weather(api)
    (thought,) = blocks(api.last, "thinking")
    assert thought["thinking"] == "Which city?"


def test_ai_sdk_openai_streams(start: Start, api: StandIn) -> None:
    ai_sdk = start(NODE, "with_ai_sdk_openai.mjs")
    play_weather(api)
    assert ai_sdk("tools_streamed", prompt=WEATHER) == {"text": ANSWER, "calls": [CALL]}
    api.push("Hello.", "Again.")
    assert ai_sdk("second_turn", prompt="hi", more="more") == {"text": "Again."}
    assert api.last.conversation == [("user", "hi"), ("assistant", "Hello."), ("user", "more")]
    api.push("goes on")
    assert ai_sdk("completion", prompt="It") == {"text": "goes on"}
    play_lisbon(api)
    assert ai_sdk("object", prompt="Lisbon") == LISBON


def test_pydantic_ai_responses(start: Start, api: StandIn) -> None:
    play_two_turns(api)
    got = start("openai", "with_pydantic_ai.py")("responses", prompt=WEATHER, more=MORE)
    assert got == {"text": ANSWER, "followed": "Warm.", "streamed": "Warmer."}
    check_followed(api.turns[2])


def test_langchain_responses(start: Start, api: StandIn) -> None:
    play_two_turns(api)
    langchain = start("langchain", "with_langchain.py")
    got = langchain("responses", prompt=WEATHER, more=MORE)
    assert got == {"text": ANSWER, "followed": "Warm.", "streamed": "Warmer."}
    check_followed(api.turns[2])
    api.responder = lambda request: Reply.of(request.last_user_text.upper())
    assert langchain("completions", prompts=["one", "two"]) == {"texts": ["ONE", "TWO"]}
