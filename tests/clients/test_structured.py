"""Every client that knows a way to an answer of a given form gets one: by schema, by tool, by JSON mode."""

from __future__ import annotations

import json

import pytest

from claude_server.standin import ApiRequest, Reply, StandIn, ToolUse
from tests.clients.conftest import Start
from tests.clients.environments import NODE
from tests.clients.program import Program
from tests.clients.scenes import LISBON, blocks, play_lisbon
from tests.proxy import Proxy

ASK = "Tell me of Lisbon."
ASKED = [{"role": "user", "content": ASK}]


@pytest.fixture(autouse=True)
def lisbon(api: StandIn) -> None:
    play_lisbon(api)


def check(api: StandIn, *, schema: bool = True) -> None:
    """One request, in which the schema was, and nothing but what the client asked."""
    assert len(api.turns) == 1
    assert [text for role, text in api.last.conversation if role == "user"][-1].startswith(ASK)
    assert (b'"twins"' in api.last.raw) == schema


@pytest.mark.parametrize("case", ["parse", "parse_streamed"])
def test_openai(openai: Program, api: StandIn, case: str) -> None:
    assert openai(case, messages=ASKED) == {"city": LISBON}
    check(api)


def test_ai_sdk(start: Start, api: StandIn, proxy: Proxy) -> None:
    """Told that the server can, the provider sends the schema, else it asks for JSON and describes it."""
    program = start(NODE, "with_ai_sdk.mjs")
    assert program("object", prompt=ASK, schema=True) == LISBON
    assert proxy.chats[-1]["response_format"]["type"] == "json_schema"
    check(api)


def test_ai_sdk_without_a_schema(start: Start, proxy: Proxy) -> None:
    assert start(NODE, "with_ai_sdk.mjs")("object", prompt=ASK, schema=False) == LISBON
    assert proxy.chats[-1]["response_format"] == {"type": "json_object"}


def test_ai_sdk_streamed(start: Start, api: StandIn) -> None:
    got = start(NODE, "with_ai_sdk.mjs")("output_streamed", prompt=ASK)
    assert got["output"] == got["grown"][-1] == LISBON and len(got["grown"]) > 1
    check(api)


@pytest.mark.parametrize("by", ["tool", "native", "prompt"])
def test_pydantic_ai(start: Start, api: StandIn, by: str) -> None:
    assert start("openai", "with_pydantic_ai.py")("structured", prompt=ASK, by=by) == LISBON
    assert len(api.turns) == 1


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_langchain(start: Start, api: StandIn, method: str) -> None:
    prompt = f"{ASK} In JSON, please."
    assert start("langchain", "with_langchain.py")("structured", prompt=prompt, method=method) == LISBON
    check(api, schema=method != "json_mode")


def test_llamaindex(start: Start, api: StandIn) -> None:
    assert start("llamaindex", "with_llamaindex.py")("structured", prompt=ASK) == LISBON
    check(api)


def test_litellm(start: Start, api: StandIn) -> None:
    assert start("litellm", "with_litellm.py")("structured", messages=ASKED) == LISBON
    check(api)


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "FUNCTIONS", "JSON", "JSON_SCHEMA", "MD_JSON"])
def test_instructor(start: Start, api: StandIn, mode: str) -> None:
    assert start("instructor", "with_instructor.py")("extract", prompt=ASK, mode=mode) == LISBON
    assert len(api.turns) == 1


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_instructor_streamed(start: Start, mode: str) -> None:
    grown = start("instructor", "with_instructor.py")("partial", prompt=ASK, mode=mode)
    assert grown[-1] == LISBON and len(grown) > 1


def test_instructor_asks_again(start: Start, api: StandIn) -> None:
    """What was wrong comes back as the result of the call."""
    api.responder = lambda request: wrong_then_right(request)
    assert start("instructor", "with_instructor.py")("retried", prompt=ASK) == LISBON
    assert len(api.turns) == 2
    (use,), (result,) = blocks(api.last, "tool_use"), blocks(api.last, "tool_result")
    assert result["tool_use_id"] == use["id"] and "twins" in json.dumps(result["content"])


def wrong_then_right(request: ApiRequest) -> Reply:
    again = bool(blocks(request, "tool_result"))
    return Reply.of(ToolUse(request.tools[-1], LISBON if again else {**LISBON, "twins": None}))
