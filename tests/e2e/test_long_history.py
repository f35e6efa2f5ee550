"""Long conversations, which a process reads at its start: what the API gets of them, and what is left."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.core.model import Image, Message, RedactedThinking, Thinking, Thought, ToolResult, ToolUse
from claude_server.engine.discovery.probe import handshake, parse_info
from claude_server.engine.discovery.sandbox import sandbox
from claude_server.engine.processes.argv import SIMPLE, Launch
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.protocol import frames
from claude_server.engine.protocol.control import Step, conversation, initialize
from claude_server.engine.protocol.transcript import Conversation
from claude_server.engine.workers.script import LONG_HISTORY
from claude_server.standin import ApiRequest, Reply, Silence, StandIn
from claude_server.standin import ToolUse as Call
from claude_server.standin.signatures import fresh_data, sign
from tests.conftest import newest_cli, older_cli
from tests.support import BASE_PATH, PATIENCE, PROGRAM, Server, clean_environment, serving, wait_until_gone

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# What the CLI may take for its own, in a transcript.
ODD_TEXTS = (
    *("/clear", "!ls", "  lead", "[Request interrupted by user]", "No response requested.", "(no content)"),
    *("<command-name>/x</command-name>", "Caveat: x", "API Error: 500", "Continue from where you left off."),
    *("{}\n{}", "\u2028 \0 \U0001f600", "Tool loaded.", "[Tool result missing due to internal error]"),
)
SIZES = (0, 1, 3000, 60_000)


def random_conversation(chance: random.Random, *, ends_in_results: bool) -> list[Message]:
    """From a user's message to a user's; `ends_in_results`: the last one is of results alone."""
    turns = chance.randrange(2, 9)
    said: list[Message] = []
    calls: list[ToolUse] = []
    for turn in range(turns):
        last = turn == turns - 1
        results = [ToolResult(c.id, random_result(chance), is_error=chance.random() < 0.2) for c in calls]
        # An image beside results would be a message of its own.
        texts = [chance.choice(ODD_TEXTS), f"question {turn}"][: chance.randrange(1, 3)]
        alone = bool(results) and (ends_in_results if last else chance.random() < 0.7)
        said.append(Message("user", (*results, *(() if alone else texts))))
        if last:
            return said
        must_call = ends_in_results and turn == turns - 2
        count = chance.randrange(1, 4) if must_call or chance.random() < 0.5 else 0
        calls = [
            ToolUse(f"toolu_{turn}_{n}", f"t{n % 2}", {"x": chance.choice(ODD_TEXTS)}) for n in range(count)
        ]
        answer = [chance.choice(ODD_TEXTS)] if not calls or chance.random() < 0.6 else []
        thoughts: list[Thought] = [Thinking("hm", sign("hm")), RedactedThinking(fresh_data())]
        said.append(Message("assistant", (*thoughts[: chance.randrange(3)], *answer, *calls)))
    raise AssertionError("there is a last turn")


def random_result(chance: random.Random) -> tuple[str | Image, ...]:
    text = "z" * chance.choice(SIZES)
    parts = [Image("image/png", PNG), *((text,) if text else ()), "end"]
    return tuple(parts[chance.randrange(3) :][: chance.randrange(3)])


def messages_of(request: ApiRequest) -> list[Any]:
    """A request's messages, without what the CLI adds of its own: notes, and where the cache ends."""
    found = []
    for message in request.messages:
        if message["role"] != "system":
            blocks = [{n: v for n, v in b.items() if n != "cache_control"} for b in message["content"]]
            own = "<system-reminder>\nAs you answer the user's questions"
            found.append((message["role"], [b for b in blocks if not b.get("text", "").startswith(own)]))
    return found


async def api_bodies(cli: Path, cases: Sequence[list[Message]]) -> list[tuple[list[Any], list[Any]]]:
    """What the API gets of each conversation: of a process that was told of it, and of one that read it."""
    found = []
    async with sandbox(str(cli), BASE_PATH) as (table, api):
        info = parse_info((2, 1, 0), await handshake(table))
        model = next(m.resolves_to or "" for m in info.models if m.id == "sonnet")
        teller = StepRunner(await table.start(Launch("sonnet")))
        await teller.run([initialize("S")], PATIENCE)
        for number, said in enumerate(cases):
            *history, question = said
            api.reset()
            first, *others = conversation(history, question, model)
            emptied = Step((frames.boundary(), *first.frames), first.expect)
            await teller.run([emptied, *others], PATIENCE)
            told = messages_of(api.last)
            api.reset()
            loaded = Conversation.before(question, tuple(history), model)
            flags = ((SIMPLE, "1"),) if number % 3 == 2 else ()
            process = await table.start(Launch("sonnet", conversation=loaded, flags=flags))
            reader = StepRunner(process)
            await reader.run([initialize("S"), *conversation((), question, model)], PATIENCE)
            assert len(api.turns) == 1
            found.append((told, messages_of(api.last)))
            await goes_on(reader, api)
            table.retire(process, now=True)
    return found


async def goes_on(reader: StepRunner, api: StandIn) -> None:
    """The process holds what it has read, and can be emptied of it."""
    before = messages_of(api.last)
    await reader.run(conversation((), Message("user", ("further",))), PATIENCE)
    after = messages_of(api.last)
    assert after[: len(before)] == before and len(after) == len(before) + 2
    (asked,) = conversation((), Message("user", ("anew",)))
    await reader.run([Step((frames.boundary(), *asked.frames), asked.expect)], PATIENCE)
    assert messages_of(api.last) == [("user", [{"type": "text", "text": "anew"}])]


def test_the_api_gets_what_it_got_of_a_process_that_was_told(each_cli: Path) -> None:
    """Calls, results, images and thoughts too; with texts that mean something to the CLI."""
    cases = [
        random_conversation(random.Random(seed), ends_in_results=seed % 2 == 0)
        for seed in range(int(os.environ.get("LONG_HISTORY_CASES", "4")))
    ]
    for seed, (told, read) in enumerate(asyncio.run(api_bodies(each_cli, cases))):
        assert read == told, f"seed {seed}"
        thoughts = sum(isinstance(b, Thinking | RedactedThinking) for m in cases[seed] for b in m.blocks)
        seen = [b["type"] for _, blocks in read for b in blocks if b["type"].endswith("thinking")]
        assert len(seen) == thoughts


# At the server


def long_body(messages: int = LONG_HISTORY, **more: Any) -> dict[str, Any]:
    said = [{"role": ("user", "assistant")[n % 2], "content": f"secret {n}"} for n in range(messages)]
    question = {"role": "user", "content": "go"}
    return {"model": "sonnet", "messages": [{"role": "system", "content": "S"}, *said, question], **more}


def post(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def figure(server: Server, name: str) -> int:
    workers: Any = server.health()["cli"]["workers"]
    return int(workers.get(name, 0))


def files_with_secrets(home: Path) -> list[Path]:
    """In the state folder, and in the CLI's own."""
    files = (path for path in home.rglob("*") if path.is_file())
    return [path for path in files if b"secret 1" in path.read_bytes()]


@pytest.fixture(scope="module", params=["newest", "2.1.197"])
def cli(request: pytest.FixtureRequest) -> Path:
    return newest_cli() if request.param == "newest" else older_cli(request.param)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def long_server(cli: Path, home: Path, shared_api: StandIn) -> Iterator[Server]:
    with serving(home, clean_environment(home, shared_api.url, CLAUDE_BIN=str(cli))) as running:
        yield running


def test_a_long_conversation_is_read_and_goes_on_in_its_process(
    long_server: Server, api: StandIn, home: Path
) -> None:
    body = long_body()
    first = post(long_server, body)["choices"][0]["message"]
    expected = [(m["role"], m["content"]) for m in body["messages"][1:]]
    assert api.last.conversation == expected and api.last.system_texts[-1] == "S" and len(api.turns) == 1
    assert figure(long_server, "loaded") == 1
    assert files_with_secrets(home) == []
    # Held by its process: nothing is told or read again, and nobody is started.
    body["messages"] += [
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": "on"},
    ]
    steps = figure(long_server, "state steps")
    post(long_server, body)
    assert api.last.conversation == [(m["role"], m["content"]) for m in body["messages"][1:]]
    assert figure(long_server, "loaded") == 1 and figure(long_server, "state steps") - steps <= 1
    # Below the limit it costs less to tell a process that is there.
    post(long_server, long_body(20))
    assert figure(long_server, "loaded") == 1


def test_a_long_agents_loop_that_ends_in_results(long_server: Server, api: StandIn) -> None:
    """A conversation that nobody has seen, with open calls at its end, and one that calls again."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "secret 1"}]
    for number in range(LONG_HISTORY // 2):
        made = {**call, "id": f"call_{number}"}
        messages.append({"role": "assistant", "content": None, "tool_calls": [made]})
        messages.append({"role": "tool", "tool_call_id": made["id"], "content": f"saw {number}"})
    before = figure(long_server, "loaded")
    api.push(Reply.of(Call("look", {})))
    message = post(long_server, {"model": "sonnet", "messages": messages, "tools": [tool]})["choices"][0]
    assert message["finish_reason"] == "tool_calls"
    assert figure(long_server, "loaded") == before + 1 and len(api.turns) == 1
    seen = [block for said in api.last.messages for block in said["content"] if isinstance(block, dict)]
    results = [block["content"][0]["text"] for block in seen if block["type"] == "tool_result"]
    assert results == [f"saw {number}" for number in range(LONG_HISTORY // 2)]
    # From now on it waits at its calls like any other.
    (made,) = message["message"]["tool_calls"]
    messages += [message["message"], {"role": "tool", "tool_call_id": made["id"], "content": "saw the last"}]
    post(long_server, {"model": "sonnet", "messages": messages, "tools": [tool]})
    assert figure(long_server, "resumed") == 1 and figure(long_server, "loaded") == before + 1
    assert "saw the last" in str(api.last.messages[-1])


def test_what_a_process_reads_is_private_and_does_not_outlive_the_server(
    claude_bin: Path, api: StandIn, tmp_path: Path
) -> None:
    """Only its user may read it, the CLI keeps nothing of it, and the next start removes it."""
    api.push(Silence(PATIENCE))
    environment = clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin))
    with serving(tmp_path, environment) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, server, long_body())
        api.wait_for_turns(1, PATIENCE)
        (path,) = files_with_secrets(tmp_path)
        assert path.is_relative_to(tmp_path / "state" / "tmp")
        assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o600, 0o700]
        processes = server.claude_processes()
        server.process.send_signal(signal.SIGKILL)
        assert isinstance(asked.exception(PATIENCE), httpx.HTTPError)
        wait_until_gone(processes)
    assert path.exists()
    with serving(tmp_path, environment):
        assert files_with_secrets(tmp_path) == []


def test_what_cannot_be_written_is_told(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """Files of more than a MB can't be written here, as on a disk that is full."""
    environment = clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin))
    limited = ("sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", *PROGRAM, "--port", "0")
    server = Server(tmp_path, environment, command=limited)
    try:
        body = long_body()
        body["messages"][1]["content"] = "x" * 2_000_000
        post(server, body)
        assert len(api.last.conversation) == LONG_HISTORY + 1 and figure(server, "loaded") == 0
        server.wait_for_line("they can't be written")
    finally:
        server.stop()
