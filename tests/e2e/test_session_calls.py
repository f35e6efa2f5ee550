"""Calls and results in a session over the real CLI: what the API is told is what it is told without one."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import Answer, ApiError, ApiRequest, Cut, Reply, StandIn, ToolUse
from tests.conftest import older_cli
from tests.e2e.test_tools import TOOLS, reached
from tests.support import PATIENCE, Server, clean_environment, serving, wait_until_gone

# How many calls the answers of a loop make, again and again.
CALLS = (1, 2, 1, 3)


class Loop:
    """An agent's loop, held in a session and, for comparison, without one."""

    def __init__(self, server: Server, api: StandIn, **fields: Any) -> None:
        self.server = server
        self.api = api
        self.fields: dict[str, Any] = {"model": "sonnet", "tools": TOOLS, **fields}
        self.session = str(uuid.uuid4())
        self.history: list[dict[str, Any]] = []

    def turn(self, answer: Answer, *new: dict[str, Any], stream: bool = False) -> dict[str, Any]:
        """Say `new` in the session, then the whole conversation without it: the API gets the same twice.
        Returns the session's message."""
        self.history += new
        message = self._post(answer, [*new], stream, session_id=self.session)
        in_session = self.api.last
        self._post(answer, self.history, False)
        assert told(in_session) == told(self.api.last)
        self.history.append(message)
        return message

    def _post(self, answer: Answer, messages: list[Any], stream: bool, **more: Any) -> dict[str, Any]:
        self.api.clear()
        self.api.push(answer)
        body = {**self.fields, "messages": messages, "stream": stream, **more}
        got = httpx.post(f"{self.server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
        assert got.status_code == 200, got.text
        assert len(self.api.turns) == 1
        if not stream:
            message: dict[str, Any] = got.json()["choices"][0]["message"]
            return message
        return from_chunks(got.text)


def from_chunks(stream: str) -> dict[str, Any]:
    """The message that a stream's chunks make."""
    lines = [line.removeprefix("data: ") for line in stream.split("\n\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]", stream
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for choice in (choice for line in lines for choice in json.loads(line)["choices"]):
        if text := choice["delta"].get("content"):
            message["content"] = (message["content"] or "") + text
        for piece in choice["delta"].get("tool_calls") or ():
            if "id" in piece:
                message.setdefault("tool_calls", []).append({k: v for k, v in piece.items() if k != "index"})
            else:
                message["tool_calls"][-1]["function"]["arguments"] += piece["function"]["arguments"]
    return message


def told(request: ApiRequest) -> list[tuple[str, list[Any]]]:
    """The conversation that reached the API, block by block, and the tools' names; without the texts that the
    CLI adds by itself, and the marks for the cache."""
    own = [(m["role"], m["content"]) for m in request.body["messages"] if m["role"] != "system"]
    talk = [(role, [*map(plain, blocks(content))]) for role, content in own]
    return [*talk, ("tools", reached(request))]


def blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [b for b in content if not str(b.get("text", "")).startswith("<system-reminder>")]


def plain(block: dict[str, Any]) -> dict[str, Any]:
    result = {name: value for name, value in block.items() if name != "cache_control"}
    if isinstance(result.get("content"), str):
        result["content"] = blocks(result["content"])
    return result


def calls(number: int, count: int) -> Reply:
    """An answer with a text and `count` calls."""
    uses = [ToolUse("get_weather", {"city": f"{number}.{i}"}) for i in range(count)]
    return Reply.of(f"Round {number}.", *uses)


def results(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"role": "tool", "tool_call_id": c["id"], "content": f"sun {c['function']['arguments']}"}
        for c in message["tool_calls"]
    ]


def asked(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.fixture(scope="module")
def server(each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with each CLI version."""
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(
        home, shared_api.url, CLAUDE_BIN=str(each_cli), CLAUDE_BASE_BACKOFF="0.05", CLAUDE_MAX_RETRIES="1"
    )
    with serving(home, environment) as running:
        yield running


@pytest.mark.parametrize("rounds", [9, pytest.param(20, marks=pytest.mark.long)])
def test_a_long_loop_with_restarts(each_cli: Path, api: StandIn, tmp_path: Path, rounds: int) -> None:
    """Many rounds, each compared: every result reaches the API as it was given, in all later rounds too.
    Calls in parallel, answers whole and streamed. After each third round the server is stopped, killed, or
    its processes are."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(each_cli))
    loop = Loop(Server(home, environment), api)
    new = [asked("Go.")]
    for number, count in zip(range(rounds), itertools.cycle(CALLS), strict=False):
        new = results(loop.turn(calls(number, count), *new, stream=number % 2 == 1))
        if number % 3 == 2:
            loop.server = restarted(loop.server, number, environment)
    loop.turn(Reply.of("Done."), *new, stream=True)
    loop.turn(Reply.of("Welcome."), asked("Thanks."))
    assert loop.server.stop() == 0


def restarted(server: Server, number: int, environment: dict[str, str]) -> Server:
    """The server after one of three ends."""
    processes = server.claude_processes()
    if number % 9 == 2:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return server
    server.stop(signal.SIGKILL if number % 9 == 5 else signal.SIGTERM)
    wait_until_gone(processes)
    return Server(server.home, environment)


@pytest.mark.parametrize("version", ["2.1.50", "2.1.90"])
def test_a_loop_on_an_older_cli(version: str, api: StandIn, tmp_path: Path) -> None:
    """They can't be told of earlier messages, but a session holds them."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(older_cli(version)), CLAUDE_ENGINE="text")
    with serving(home, environment) as server:
        session, said = str(uuid.uuid4()), [("user", [{"type": "text", "text": "Go."}])]
        new = [asked("Go.")]
        for number in range(3):
            api.push(calls(number, 2))
            body = {"model": "sonnet", "messages": new, "tools": TOOLS, "session_id": session}
            answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
            assert told(api.last)[:-1] == said
            message = answer.json()["choices"][0]["message"]
            uses = [
                {"type": "tool_use", "id": c["id"], "name": "get_weather", "input": {"city": f"{number}.{i}"}}
                for i, c in enumerate(message["tool_calls"])
            ]
            new = results(message)
            texts = [[{"type": "text", "text": result["content"]}] for result in new]
            given = [
                {"type": "tool_result", "tool_use_id": use["id"], "content": text}
                for use, text in zip(uses, texts, strict=True)
            ]
            said += [("assistant", [{"type": "text", "text": f"Round {number}."}, *uses]), ("user", given)]


def test_results_that_are_missing_strange_or_come_with_words(server: Server, api: StandIn) -> None:
    """Only some results, then none at all, one for no call, and a text and a picture beside them."""
    loop = Loop(server, api)
    message = loop.turn(calls(0, 3), asked("Go."))
    message = loop.turn(calls(1, 2), *results(message)[1:2])
    message = loop.turn(calls(2, 1), asked("Never mind."))
    strange = {"role": "tool", "tool_call_id": "call_of_nobody", "content": "what?"}
    message = loop.turn(calls(3, 1), *results(message), strange, asked("And?"))
    dot = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/"
        "iZk9HQAAAABJRU5ErkJggg=="
    )
    picture = {"type": "image_url", "image_url": {"url": dot}}
    result = {**results(message)[0], "content": [{"type": "text", "text": "seen"}, picture]}
    message = loop.turn(calls(4, 1), result)
    loop.turn(Reply.of("Done."), *results(message))


@pytest.mark.parametrize("failure", [ApiError(529), Cut(chars=0), Cut(Reply.of("Half of it"), chars=4)])
def test_results_of_a_turn_that_failed_are_not_kept(server: Server, api: StandIn, failure: Answer) -> None:
    """The client gives other results then, and those are what the API is told from then on."""
    loop = Loop(server, api)
    message = loop.turn(calls(0, 2), asked("Go."))
    api.push(failure, failure)
    wrong = [{**result, "content": "WRONG"} for result in results(message)]
    body = {**loop.fields, "messages": wrong, "session_id": loop.session}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE).status_code >= 400
    api.reset()
    message = loop.turn(calls(1, 1), *results(message))
    loop.turn(Reply.of("Done."), *results(message))


def test_functions_in_their_older_form(server: Server, api: StandIn) -> None:
    """Their results name the function; the call is not said again."""
    body = {
        "model": "sonnet",
        "functions": [tool["function"] for tool in TOOLS],
        "session_id": str(uuid.uuid4()),
    }
    api.push(Reply.of(ToolUse("Bash", {"command": "ls"}, id="toolu_1")), "Done.")
    for new in (asked("Go."), {"role": "function", "name": "Bash", "content": "a.txt"}):
        url = f"{server.url}/v1/chat/completions"
        answer = httpx.post(url, json={**body, "messages": [new]}, timeout=PATIENCE)
        assert answer.status_code == 200
    (given,) = told(api.last)[-2][1]
    assert (given["tool_use_id"], given["content"][0]["text"]) == ("toolu_1", "a.txt")


def test_a_session_goes_on_without_tools(server: Server, api: StandIn) -> None:
    """The API takes calls in a conversation only if there are tools: those that were called."""
    loop = Loop(server, api)
    message = loop.turn(calls(0, 1), asked("Go."))
    loop.fields.pop("tools")
    loop.turn(Reply.of("Done."), *results(message))
    loop.turn(Reply.of("Welcome."), asked("Thanks."))


def test_a_structured_answer_was_not_rejected(server: Server, api: StandIn) -> None:
    """It is given by a call, which gets a word of ours as its result."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    shape = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    session = str(uuid.uuid4())
    for number in range(3):
        api.push(Reply.of(ToolUse("json_answer", {"city": "Oslo"})))
        body = {"model": "sonnet", "messages": [asked(f"Where {number}?")], "session_id": session}
        url = f"{server.url}/v1/chat/completions"
        answer = httpx.post(url, json={**body, "response_format": shape}, timeout=PATIENCE)
        assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"city": "Oslo"}
    given = [b for _, content in told(api.last) for b in content if "tool_use_id" in b]
    assert [b["content"] for b in given] == [[{"type": "text", "text": "The answer was delivered."}]] * 2
    assert "reject" not in api.last.raw.decode()
