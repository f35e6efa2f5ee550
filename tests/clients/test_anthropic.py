"""Clients of Anthropic's Messages API: the SDKs, the libraries on them, and the `claude` CLI itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from claude_server.standin import ApiError, ApiRequest, Reply, StandIn, StreamError, Text, Thinking, ToolUse
from tests.clients.conftest import Start
from tests.clients.environments import NODE
from tests.clients.program import Program
from tests.clients.scenes import ANSWER, LISBON, WEATHER, check_weather, play_lisbon, play_weather
from tests.proxy import Proxy
from tests.support import BASE_PATH, PATIENCE

COUNTED = "One, two, three, four."
HI = [{"role": "user", "content": "Count."}]
PROMPT = "Name a city."
ASKED = [{"role": "user", "content": PROMPT}]


@pytest.fixture(params=["python", "node"])
def sdk(request: pytest.FixtureRequest, start: Start) -> Program:
    group, name = (
        ("anthropic", "with_anthropic.py") if request.param == "python" else (NODE, "with_anthropic.mjs")
    )
    return start(group, name)


@pytest.fixture
def langchain(start: Start) -> Program:
    return start("anthropic", "with_langchain_anthropic.py")


@pytest.fixture
def pydantic_ai(start: Start) -> Program:
    return start("anthropic", "with_pydantic_ai_anthropic.py")


@pytest.fixture
def litellm(start: Start) -> Program:
    return start("litellm", "with_litellm_anthropic.py")


@pytest.fixture
def ai_sdk(start: Start) -> Program:
    return start(NODE, "with_ai_sdk_anthropic.mjs")


def slowly(api: StandIn) -> None:
    """The next answer comes in pieces."""
    api.push(Reply.of(COUNTED, chunk_chars=5, output_tokens=9))


def check_pieces(texts: list[str]) -> None:
    assert "".join(texts) == COUNTED and len([text for text in texts if text]) > 1


# The SDKs


def test_sdk_whole(sdk: Program, api: StandIn) -> None:
    api.push(Reply.of(Thinking("Let me see."), COUNTED, output_tokens=9))
    answer = sdk("create", messages=HI, system="You are terse.")
    assert answer["content"][0]["text"] == COUNTED and answer["usage"]["output_tokens"] == 9
    assert (answer["model"], answer["stop_reason"]) == (api.last.model, "end_turn")
    assert api.last.system_texts[-1] == "You are terse." and api.last.conversation == [("user", "Count.")]


def test_sdk_with_asyncio(start: Start, api: StandIn) -> None:
    api.push(COUNTED)
    answer = start("anthropic", "with_anthropic.py")("create_async", messages=HI)
    assert answer["content"][0]["text"] == COUNTED


def test_sdk_streamed(sdk: Program, api: StandIn) -> None:
    api.push(Reply.of(Thinking("Let me see."), Text(COUNTED), chunk_chars=5, output_tokens=9))
    got = sdk("streamed", messages=HI, thinking={"type": "adaptive"})
    check_pieces(got["texts"])
    thought, text = got["answer"]["content"]
    assert thought["thinking"] == "Let me see." and thought["signature"] and text["text"] == COUNTED
    usage = got["answer"]["usage"]
    assert usage["output_tokens"] == 9
    prompt = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert sum(usage[name] for name in prompt) > 10


def test_sdk_parse(sdk: Program, api: StandIn) -> None:
    play_lisbon(api)
    assert sdk("parse", messages=ASKED)["city"] == LISBON


def test_sdk_tool_runner(sdk: Program, api: StandIn) -> None:
    """It begins a thread, is refused, and sends all from then on: with its tools, and the whole loop."""
    play_weather(api)
    assert sdk("tool_runner", prompt=WEATHER)["text"] == ANSWER
    check_weather(api)


def test_sdk_counts_and_models(sdk: Program, api: StandIn) -> None:
    assert 250 < sdk("count", messages=[{"role": "user", "content": "word " * 200}]) < 300
    assert api.turns == []
    models = sdk("models")
    assert models["one"].startswith("claude-haiku-") and models["one"] in models["listed"]


def test_sdk_failures(sdk: Program, api: StandIn) -> None:
    api.push(ApiError.prompt_too_long())
    failure = sdk("failure", messages=HI)
    assert failure["status"] == 400 and "prompt is too long" in failure["message"]
    assert failure["request_id"].startswith("req_")
    api.reset()
    # An account that may not: it is asked once.
    api.push(*[ApiError.out_of_extra_usage()] * 5)
    assert sdk("failure", messages=HI)["status"] == 403 and len(api.turns) == 1
    api.reset()
    api.push(*[ApiError(529)] * 9)
    failure = sdk("failure", messages=HI)
    assert (failure["status"], len(api.turns)) == (529, 3)


def test_sdk_a_stream_that_breaks_off_is_no_answer(sdk: Program, api: StandIn) -> None:
    api.push(*[StreamError()] * 5)
    failure = sdk("failure", messages=HI, stream=True)
    assert failure["type"] is not None and len(api.turns) == 1


# LangChain


def test_langchain(langchain: Program, api: StandIn) -> None:
    api.push(COUNTED)
    answer = langchain("invoke", messages=[["system", "You are terse."], ["user", "Count."]])
    assert answer["text"] == COUNTED and answer["usage"]["input_tokens"] > 10
    assert api.last.system_texts[-1] == "You are terse."


def test_langchain_streamed(langchain: Program, api: StandIn) -> None:
    slowly(api)
    got = langchain("stream", prompt="Count.")
    check_pieces(got["texts"])
    assert got["usage"]["output_tokens"] == 9 and got["usage"]["input_tokens"] > 10


@pytest.mark.parametrize("thinks", [False, True])
def test_langchain_agent(langchain: Program, api: StandIn, thinks: bool) -> None:
    call = ToolUse("get_weather", {"city": "Lisbon"})
    api.push(Reply.of(Thinking("Let me see."), Text("I look."), call, chunk_chars=5), ANSWER)
    assert langchain("agent", prompt=WEATHER, thinks=thinks)["text"] == ANSWER
    check_weather(api)
    said = api.last.messages[1]["content"]
    assert (said[0]["type"] == "thinking") or not thinks


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_structured(langchain: Program, api: StandIn, method: str) -> None:
    play_lisbon(api)
    assert langchain("structured", prompt=PROMPT, method=method)["city"] == LISBON


# pydantic-ai, instructor, litellm


def test_pydantic_ai(pydantic_ai: Program, api: StandIn) -> None:
    api.push(COUNTED)
    answer = pydantic_ai("run", prompt="Count.")
    assert answer["text"] == COUNTED and answer["input_tokens"] > 10
    assert api.last.system_texts[-1] == "You are terse."


def test_pydantic_ai_streamed(pydantic_ai: Program, api: StandIn) -> None:
    slowly(api)
    check_pieces(pydantic_ai("streamed", prompt="Count.")["texts"])


def test_pydantic_ai_tools(pydantic_ai: Program, api: StandIn) -> None:
    play_weather(api)
    assert pydantic_ai("tools", prompt=WEATHER)["text"] == ANSWER
    check_weather(api)


@pytest.mark.parametrize("by", ["native", "tool"])
def test_pydantic_ai_structured(pydantic_ai: Program, api: StandIn, by: str) -> None:
    play_lisbon(api)
    assert pydantic_ai("structured", prompt=PROMPT, by=by)["city"] == LISBON


def test_instructor(start: Start, api: StandIn) -> None:
    play_lisbon(api)
    assert start("instructor", "with_instructor_anthropic.py")("structured", prompt=PROMPT)["city"] == LISBON


def test_litellm(litellm: Program, api: StandIn) -> None:
    api.push(Reply.of(COUNTED, output_tokens=9))
    answer = litellm("completion", messages=HI)
    assert answer["choices"][0]["message"]["content"] == COUNTED
    assert answer["usage"]["completion_tokens"] == 9
    slowly(api)
    got = litellm("streamed", messages=HI)
    check_pieces(got["texts"])
    assert got["usage"]["prompt_tokens"] > 10
    play_lisbon(api)
    assert litellm("parse", messages=ASKED)["city"] == LISBON
    api.responder = lambda request: ApiError.prompt_too_long()
    assert litellm("failure", messages=HI)["type"] == "ContextWindowExceededError"


# Vercel's AI SDK


def test_ai_sdk(ai_sdk: Program, api: StandIn) -> None:
    api.push(Reply.of(COUNTED, output_tokens=9))
    answer = ai_sdk("generate", prompt="Count.", system="You are terse.")
    assert answer["text"] == COUNTED and answer["usage"]["outputTokens"] == 9
    assert api.last.system_texts[-1] == "You are terse."
    slowly(api)
    check_pieces(ai_sdk("streamed", prompt="Count.")["texts"])
    api.push(*[StreamError()] * 5)
    assert "error" in ai_sdk("streamed", prompt="Count.")["kinds"]


@pytest.mark.parametrize("stream", [False, True])
def test_ai_sdk_tools(ai_sdk: Program, api: StandIn, stream: bool) -> None:
    play_weather(api)
    assert ai_sdk("tools", prompt=WEATHER, stream=stream)["text"] == ANSWER
    check_weather(api)


def test_ai_sdk_object(ai_sdk: Program, api: StandIn) -> None:
    play_lisbon(api)
    assert ai_sdk("object", prompt=PROMPT)["city"] == LISBON


# The claude CLI


def test_the_cli_itself(claude_bin: Path, shared_proxy: Proxy, api: StandIn, tmp_path: Path) -> None:
    """One question in print mode, with a tool that reads a file: what reaches the API is that client's own
    system prompt, its tools, and the loop that it ran."""
    note = tmp_path / "note.txt"
    note.write_text("The word is hibiscus.\n")

    def answer(request: ApiRequest) -> Reply:
        if "hibiscus" in request.raw.decode():
            return Reply.of("The word is hibiscus.")
        return Reply.of(ToolUse("Read", {"file_path": str(note)}))

    api.responder = answer
    asked = subprocess.run(
        [str(claude_bin), "-p", "Which word is in note.txt?", "--output-format", "json", "--model", "sonnet"],
        env=_cli_environment(tmp_path, shared_proxy),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
    result: dict[str, Any] = json.loads(asked.stdout)
    assert (result["result"], result["is_error"], result["num_turns"]) == ("The word is hibiscus.", False, 2)
    first, *_, last = [turn for turn in api.turns if "Read" in turn.tools]
    assert {"Bash", "Edit", "Read", "Write"} <= {*first.tools}
    assert len("".join(first.system_texts)) > 5000
    assert str(note) in json.dumps(last.messages) and first.tools == last.tools


def _cli_environment(home: Path, proxy: Proxy) -> dict[str, str]:
    return {
        "PATH": BASE_PATH,
        "HOME": str(home / "home"),
        "ANTHROPIC_BASE_URL": proxy.url,
        "ANTHROPIC_API_KEY": "not-used",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "NO_PROXY": "127.0.0.1",
    }
