"""Counts of tokens by the real CLI, beside what the API counts of the same prompt and of the turn itself."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from claude_server.core.counting import TokenCounter
from claude_server.core.errors import ModelNotFound
from claude_server.core.model import (
    AttemptRequest,
    Document,
    Image,
    Message,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    TurnDone,
    TurnRequest,
)
from claude_server.engine.binary import EngineOptions
from claude_server.engine.engine import CliEngine
from claude_server.engine.protocol.counting import MESSAGE_TOKENS, ONE_WORD_TOKENS, TOOLS_TOKENS
from claude_server.standin import StandIn
from claude_server.standin.caching import count_tokens, estimate_tokens
from claude_server.standin.signatures import sign
from tests.support import clean_environment

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJUVPRgo="
COUNT = "/v1/messages/count_tokens"
SCHEMA = json.dumps({"type": "object", "properties": {"city": {"type": "string"}}})
THOUGHT = "Let me see. " * 100
WEATHER = Tool("get_weather", "Tells the weather. " * 300, SCHEMA)


def user(*blocks: Any) -> Message:
    return Message("user", blocks)


def rounds(count: int) -> list[Message]:
    """An agent's loop: calls and their results."""
    said = [user("What is the weather in all of these?")]
    for number in range(count):
        call = ToolUse(f"toolu_{number}", "get_weather", {"city": f"City {number}"})
        said += [Message("assistant", ("I look.", call)), user(ToolResult(call.id, ("sunny " * 20,)))]
    return said


def talk(count: int) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(roles[number % 2], (f"Sentence {number}. " * 30,)) for number in range(count)]  # type: ignore[arg-type]


CASES: dict[str, tuple[str, Sequence[Tool], list[Message]]] = {
    "a word": ("", (), [user("hello")]),
    "a command": ("", (), [user("/clear")]),
    "a system prompt": ("You are terse. " * 50, (), [user("hello there")]),
    "a long text": ("", (), [user("word " * 20_000)]),
    "an image": ("", (), [user("What is this?", Image("image/png", PIXEL))]),
    "a document": ("", (), [user(Document(PDF, "Report"), "Read it.")]),
    "a long talk": ("Be kind.", (), talk(101)),
    "thinking": (
        "",
        (WEATHER,),
        [
            user("Where?"),
            Message("assistant", (Thinking(THOUGHT, sign(THOUGHT)), ToolUse("toolu_x", "get_weather", {}))),
            user(ToolResult("toolu_x", ("sunny",))),
        ],
    ),
    "thinking before a text": (
        "",
        (),
        [user("Where?"), Message("assistant", (Thinking(THOUGHT, sign(THOUGHT)), "There.")), user("Why?")],
    ),
    "tools": ("Be kind.", (WEATHER,), [user("hello")]),
    "a loop of tools": ("Be kind.", (WEATHER,), rounds(60)),
}


def turn(name: str, model: str | None = None) -> TurnRequest:
    system, tools, (*history, question) = CASES[name]
    return TurnRequest(name, question, tuple(history), system, model, tools=tuple(tools))


def at_api(request: TurnRequest) -> int:
    """What the API counts of the same prompt."""

    def block(given: Any) -> dict[str, Any]:
        if isinstance(given, str):
            return {"type": "text", "text": given}
        if isinstance(given, ToolUse):
            return {"type": "tool_use", "name": given.name, "input": dict(given.input)}
        if isinstance(given, ToolResult):
            return {"type": "tool_result", "content": [block(each) for each in given.blocks]}
        if isinstance(given, Thinking):
            return {"type": "thinking", "thinking": given.text}
        return {"type": "image" if isinstance(given, Image) else "document"}

    messages = [
        {"role": message.role, "content": [block(each) for each in message.blocks]}
        for message in (*request.history, request.question)
    ]
    tools = [
        {"name": tool.name, "description": tool.description, "input_schema": json.loads(tool.schema)}
        for tool in request.tools
    ]
    return count_tokens({"system": request.system, "tools": tools, "messages": messages})


# One process for all of them.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def home(each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(each_cli: Path, shared_api: StandIn, home: Path) -> dict[str, str]:
    return clean_environment(home, shared_api.url, CLAUDE_BIN=str(each_cli))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(each_cli: Path, home: Path, environment: dict[str, str]) -> AsyncIterator[CliEngine]:
    made = CliEngine(str(each_cli), home / "state", environment, EngineOptions(size=1))
    await made.start()
    yield made
    await made.close()


@pytest.mark.parametrize("model", [None, "haiku", "claude-not-listed-1"])
async def test_a_word_counts_as_the_api_says_whatever_the_model(
    engine: CliEngine, api: StandIn, model: str | None
) -> None:
    count = await engine.count_tokens(turn("a word", model))
    # The stand-in rounds up once for all of a prompt.
    assert count - at_api(turn("a word")) in (ONE_WORD_TOKENS - 2, ONE_WORD_TOKENS - 1)
    asked = [request for request in api.requests if request.path == COUNT]
    assert asked and api.turns == []
    if model == "claude-not-listed-1":
        assert {request.model for request in asked} == {model}


@pytest.mark.parametrize("name", CASES)
async def test_counts_beside_the_apis_and_beside_the_turn(
    engine: CliEngine, api: StandIn, name: str, record_property: Any
) -> None:
    asked = turn(name)
    count = await engine.count_tokens(asked)
    assert api.turns == []
    # What the API has of its own: the first message's border, those of messages that were put together, and
    # its words about tools.
    borders = ONE_WORD_TOKENS + MESSAGE_TOKENS * len(asked.history) + TOOLS_TOKENS * bool(asked.tools)
    blocks = sum(len(message.blocks) for message in asked.history) + 2
    assert -1 <= count - at_api(asked) <= borders + blocks
    attempt = engine.open(AttemptRequest(asked, asked.system, asked.history))
    with contextlib.closing(attempt):
        done = [event async for event in attempt][-1]
    assert isinstance(done, TurnDone)
    # The CLI says what it is, and where it runs: some hundred tokens, on every version.
    assert -borders <= done.usage.prompt_tokens - at_api(asked) <= 400
    record_property("count", (count, done.usage.prompt_tokens))


async def test_what_was_said_before_is_not_counted(engine: CliEngine, api: StandIn) -> None:
    long, short = turn("a long text"), turn("a word")
    assert await engine.count_tokens(long) > 20_000
    assert await engine.count_tokens(short) < 20


async def test_100_kb_are_counted_in_time(engine: CliEngine) -> None:
    await engine.count_tokens(turn("a word"))
    times = []
    for number in range(8):
        asked = TurnRequest("x", user("word " * 20_000 + str(number)))
        began = time.perf_counter()
        await engine.count_tokens(asked)
        times.append(time.perf_counter() - began)
    # The target is 150 ms; a busy machine has its own.
    assert min(times) < 0.5, times
    print(f"counting 100 kB: {min(times) * 1000:.0f} to {max(times) * 1000:.0f} ms")


async def test_counted_once_then_known(engine: CliEngine, api: StandIn) -> None:
    counter = TokenCounter(engine)
    first = await counter.count(turn("a loop of tools"))
    seen = len(api.requests)
    assert first.exact and await counter.count(turn("a loop of tools")) == first
    assert len(api.requests) == seen
    with pytest.raises(ModelNotFound):
        await counter.count(turn("a word", "-no model"))
    # An image has no fewer tokens than it may have.
    assert counter.estimate(turn("an image")) >= 1600 and estimate_tokens(4) == 1
