"""Loops of calls over the real CLI: they stay in their worker, and the API gets what injection would send."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import (
    Answer,
    ApiError,
    ApiRequest,
    Reply,
    Silence,
    StandIn,
    Text,
    Thinking,
    ToolUse,
)
from tests.conftest import newest_cli
from tests.e2e.test_warm import comparable, workers
from tests.support import PATIENCE, Server, clean_environment, serving, wait_until_gone

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name} something",
            "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
        },
    }
    for name in ("look", "read", "Bash")
]
Message = dict[str, Any]


@pytest.fixture(scope="module")
def server(each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("waiting")
    environment = clean_environment(
        home, shared_api.url, CLAUDE_BIN=str(each_cli), CLAUDE_MAX_CONCURRENCY="2", CLAUDE_SUSPENDED="3"
    )
    with serving(home, environment, "--port", "0", "--base-backoff", "0.01") as running:
        yield running


class Agent:
    """A client that answers the calls of its model."""

    def __init__(self, server: Server, api: StandIn, **fields: Any) -> None:
        self.server = server
        self.api = api
        self.fields: dict[str, Any] = {"model": "sonnet", "tools": TOOLS, **fields}
        self.messages: list[Message] = [{"role": "system", "content": "Be kind."}]
        self.before = workers(server)

    def ask(self, answer: Answer | None, *new: Message, stream: bool = False, **more: Any) -> Message:
        """The model's next message, which is `answer`."""
        if answer is not None:
            self.api.push(answer)
        self.messages += new
        body = {**self.fields, "messages": self.messages, "stream": stream, **more}
        got = httpx.post(f"{self.server.base_url}/chat/completions", json=body, timeout=PATIENCE)
        assert got.status_code == 200, got.text
        message = from_chunks(got.text) if stream else got.json()["choices"][0]["message"]
        self.messages.append(message)
        return message

    def counted(self) -> dict[str, int]:
        """What was counted of waiting workers since the last look."""
        now = workers(self.server)
        found = {
            name: number - self.before.get(name, 0)
            for name, number in now.items()
            if name in ("suspended", "resumed") or name.startswith("not resumed")
        }
        self.before = now
        return {name: number for name, number in found.items() if number}


def from_chunks(text: str) -> Message:
    """The message that a stream builds."""
    message: Message = {"role": "assistant", "content": "", "tool_calls": []}
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                if "id" in call:
                    message["tool_calls"].append(
                        {"id": call["id"], "type": "function", "function": {"name": call["function"]["name"]}}
                    )
                function = message["tool_calls"][-1]["function"]
                function["arguments"] = function.get("arguments", "") + (
                    call["function"].get("arguments") or ""
                )
    if not message["tool_calls"]:
        del message["tool_calls"]
    return message


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def results(message: Message, *texts: object) -> list[Message]:
    """A result for each call of the message."""
    calls = message["tool_calls"]
    given = texts or tuple(f"result of {call['id']}" for call in calls)
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": text}
        for call, text in zip(calls, given, strict=True)
    ]


def call(*ids: str, thought: str = "hm", said: str = "I look.") -> Reply:
    uses = [ToolUse("look", {"x": id}, id=f"toolu_{id}") for id in ids]
    return Reply(blocks=[*((Thinking(thought),) if thought else ()), *((Text(said),) if said else ()), *uses])


def kinds(request: ApiRequest) -> list[list[str]]:
    """The blocks of each message of the conversation, without the notes of an older CLI."""
    return [
        [b["type"] for b in blocks_of(message) if not b.get("text", "").startswith("<system-reminder>")]
        for message in request.body["messages"]
        if message["role"] != "system"
    ]


def blocks_of(message: Message) -> list[Message]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def as_compared(request: ApiRequest) -> str:
    """A body without thoughts, marks for the cache, and what comparable() leaves out."""
    said = [
        {
            **message,
            "content": [
                {name: value for name, value in block.items() if name != "cache_control"}
                for block in blocks_of(message)
                if "thinking" not in block["type"]
            ],
        }
        for message in request.body["messages"]
    ]
    body = {**request.body, "messages": said}
    return comparable(ApiRequest(0, 0.0, "POST", request.path, body=body))


def test_a_loop_stays_in_its_worker(server: Server, shared_api: StandIn) -> None:
    """Thoughts stay in front of their calls, results keep the order of the calls, and each round is one
    request with the bytes of the one before in front."""
    shared_api.reset()
    agent = Agent(server, shared_api)
    message = agent.ask(call("a1", "a2"), user("Go."))
    message = agent.ask(call("b1", said=""), *reversed(results(message, "sun", "rain")), stream=True)
    message = agent.ask(
        call("c1", "c2", "c3", thought=""), *results(message, [{"type": "text", "text": "wind"}])
    )
    message = agent.ask(call("d1"), *results(message, "", "two", "three"), stream=True)
    assert agent.ask(Reply.of("Done."), *results(message, "é\u2028\U0001f600" * 1000))["content"] == "Done."
    assert agent.counted() == {"suspended": 4, "resumed": 4}
    assert len(shared_api.turns) == 5
    assert kinds(shared_api.last) == [
        ["text"],
        ["thinking", "text", "tool_use", "tool_use"],
        ["tool_result"] * 2,
        ["thinking", "tool_use"],
        ["tool_result"],
        ["text", "tool_use", "tool_use", "tool_use"],
        ["tool_result"] * 3,
        ["thinking", "text", "tool_use"],
        ["tool_result"],
    ]
    told = [b for m in shared_api.last.body["messages"] for b in blocks_of(m) if b["type"] == "tool_result"]
    assert [b["tool_use_id"] for b in told[:2]] == ["toolu_a1", "toolu_a2"]
    texts = ["".join(part["text"] for part in block["content"]) for block in told]
    assert texts == ["sun", "rain", "wind", "(no output)", "two", "three", "é\u2028\U0001f600" * 1000]
    for earlier, later in zip(shared_api.turns, shared_api.turns[1:], strict=False):
        assert unmarked(later)[: len(unmarked(earlier))] == unmarked(earlier)


def unmarked(request: ApiRequest) -> list[Message]:
    """All blocks of the conversation, without the marks for the cache."""
    blocks = [block for message in request.body["messages"] for block in blocks_of(message)]
    return [{name: value for name, value in b.items() if name != "cache_control"} for b in blocks]


def test_what_a_round_costs(server: Server, shared_api: StandIn) -> None:
    """Usage is the round's own, and so is the cost."""
    shared_api.reset()
    agent = Agent(server, shared_api)
    costs, usages = [], []
    message: Message = {}
    for number in range(4):
        shared_api.push(call(f"cost{number}") if number < 3 else Reply.of("End."))
        agent.messages += results(message) if number else [user("Go.")]
        body = {**agent.fields, "messages": agent.messages}
        got = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE).json()
        message = got["choices"][0]["message"]
        agent.messages.append(message)
        costs.append(got["x_claude"]["cost_usd"])
        usages.append(got["usage"]["prompt_tokens"])
    assert agent.counted() == {"suspended": 3, "resumed": 3}
    turns = shared_api.turns
    assert usages == [
        sum((t.usage.input_tokens, t.usage.cache_read_input_tokens, t.usage.cache_creation_input_tokens))
        for t in turns
    ]
    assert all(0 < cost < 0.01 for cost in costs)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"messages": "earlier"}, "earlier message changed"),
        ({"messages": "system"}, "system prompt changed"),
        ({"model": "haiku"}, "model changed"),
        ({"tools": TOOLS[:2]}, "tools changed"),
        ({"reasoning_effort": "low"}, "effort changed"),
        ({"max_tokens": 2000}, "limits changed"),
        ({"results": "one"}, "more than results"),
        ({"results": "long"}, "result too long"),
    ],
)
def test_what_falls_back(server: Server, shared_api: StandIn, change: dict[str, Any], reason: str) -> None:
    """The answer is the same; the counter says why the conversation was sent anew."""
    shared_api.reset()
    agent = Agent(server, shared_api)
    message = agent.ask(call("f1", "f2"), user("Go."))
    given = results(message)
    if change.get("results") == "one":
        given = [*given, user("And hurry.")]
    if change.get("results") == "long":
        given[0]["content"] = "word " * 100_100
    if change.get("messages") == "earlier":
        agent.messages[1] = user("Went.")
    if change.get("messages") == "system":
        agent.messages[0] = {"role": "system", "content": "Be unkind."}
    more = {name: value for name, value in change.items() if name not in ("messages", "results")}
    assert agent.ask(Reply.of("End."), *given, **more)["content"] == "End."
    assert agent.counted() == {"suspended": 1, f"not resumed: {reason}": 1}
    assert len(shared_api.turns) == 2
    assert b"persisted-output" not in shared_api.last.raw and b"/tool-results/" not in shared_api.last.raw


def test_a_description_may_change(server: Server, shared_api: StandIn) -> None:
    """Agents write the time into it."""
    shared_api.reset()
    agent = Agent(server, shared_api)
    message = agent.ask(call("t1"), user("Go."))
    later = json.loads(json.dumps(TOOLS).replace("look something", "look at 12:05"))
    agent.ask(Reply.of("End."), *results(message), tools=later)
    assert agent.counted() == {"suspended": 1, "resumed": 1}
    assert shared_api.last.body["tools"][0]["description"] == "look at 12:05"


def test_a_call_of_an_unknown_tool_doesnt_wait(server: Server, shared_api: StandIn) -> None:
    """The CLI would answer it by itself."""
    shared_api.reset()
    agent = Agent(server, shared_api)
    answer = Reply.of("so", ToolUse("look", {"x": "1"}, id="toolu_u1"), ToolUse("nowhere", {}, id="toolu_u2"))
    message = agent.ask(answer, user("Go."))
    assert len(message["tool_calls"]) == 2 and len(shared_api.turns) == 1
    agent.ask(Reply.of("End."), *results(message))
    assert agent.counted() == {"not resumed: unknown calls": 1}


def test_at_most_so_many_wait(server: Server, shared_api: StandIn) -> None:
    shared_api.reset()
    agents = [Agent(server, shared_api) for _ in range(4)]
    messages = [agent.ask(call(f"m{n}"), user(f"Go {n}.")) for n, agent in enumerate(agents)]
    assert workers(server)["waiting at calls"] == 3
    for agent, message in zip(reversed(agents), reversed(messages), strict=True):
        assert agent.ask(Reply.of("End."), *results(message))["content"] == "End."
    assert agents[0].counted()["not resumed: worker evicted"] == 1


def test_a_worker_that_dies_while_it_waits(server: Server, shared_api: StandIn) -> None:
    shared_api.reset()
    agent = Agent(server, shared_api)
    message = agent.ask(call("k1"), user("Go."))
    pids = settled_processes(server)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(pids)
    assert agent.ask(Reply.of("End."), *results(message))["content"] == "End."
    assert agent.counted() == {"suspended": 1, "not resumed: worker died": 1}
    assert len(shared_api.turns) == 2


def settled_processes(server: Server) -> list[int]:
    """All processes, while none is being started."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pids, now = server.claude_processes(), workers(server)
        if len(pids) == now["idle"] + now["waiting at calls"] and now["idle"]:
            return pids
        time.sleep(0.05)
    raise TimeoutError("the processes don't settle")


@pytest.mark.parametrize("failing", [ApiError.overloaded(), ApiError(500)])
def test_a_resumed_turn_that_fails_is_asked_anew(
    server: Server, shared_api: StandIn, failing: ApiError
) -> None:
    shared_api.reset()
    agent = Agent(server, shared_api)
    message = agent.ask(call("r1"), user("Go."))
    shared_api.push(failing)
    assert agent.ask(Reply.of("End."), *results(message))["content"] == "End."
    assert agent.counted() == {"suspended": 1, "resumed": 1, "not resumed: already gone on": 1}
    assert len(shared_api.turns) == 3
    assert as_compared(shared_api.turns[1]) == as_compared(shared_api.turns[2])


def test_a_worker_that_dies_in_a_resumed_turn(server: Server, shared_api: StandIn) -> None:
    shared_api.reset()
    agent = Agent(server, shared_api)
    message = agent.ask(call("x1"), user("Go."))
    shared_api.push(Silence())

    def kill() -> None:
        shared_api.wait_for_turns(2, PATIENCE)
        for pid in server.claude_processes():
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert agent.ask(Reply.of("End."), *results(message))["content"] == "End."
    killer.join()
    assert len(shared_api.turns) == 3


def test_a_client_that_leaves_a_resumed_turn(server: Server, shared_api: StandIn) -> None:
    """Its worker goes with it; the client may come back with the same results."""
    shared_api.reset()
    agent = Agent(server, shared_api)
    message = agent.ask(call("l1"), user("Go."))
    shared_api.push(Silence())
    body = {**agent.fields, "messages": [*agent.messages, *results(message)]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=1.0)
    shared_api.wait_ended(shared_api.wait_for_turns(2, PATIENCE)[1])
    assert agent.ask(Reply.of("End."), *results(message))["content"] == "End."
    assert agent.counted() == {"suspended": 1, "resumed": 1, "not resumed: already gone on": 1}


@pytest.mark.parametrize("count", [24, pytest.param(300, marks=pytest.mark.long)])
def test_random_loops_send_what_injection_sends(
    server: Server, each_cli: Path, shared_api: StandIn, tmp_path: Path, count: int
) -> None:
    """The same loops where no worker waits: each body is compared."""
    rng = random.Random(count)
    loops: list[list[Round]] = []
    while sum(map(len, loops)) < count:
        # A million characters are more than the older CLI's model takes, in whatever way they come.
        sizes = SIZES if each_cli == newest_cli() else SIZES[:-1]
        loops.append(random_loop(rng, len(loops), 40 if count > 100 else 6, sizes))

    def bodies(where: Server) -> list[str]:
        shared_api.reset()
        shared_api.responder = lambda request: Reply.of("No answer was meant.")
        for loop in loops:
            run_loop(where, shared_api, loop)
        return [as_compared(request) for request in shared_api.turns]

    before = workers(server)
    waiting = bodies(server)
    after = workers(server)
    environment = clean_environment(
        tmp_path, shared_api.url, CLAUDE_BIN=str(each_cli), CLAUDE_SUSPENDED="0", CLAUDE_MAX_CONCURRENCY="2"
    )
    with serving(tmp_path, environment) as other:
        injected = bodies(other)
        assert "resumed" not in workers(other)
    assert len(waiting) == len(injected) == sum(map(len, loops))
    for one, two in zip(waiting, injected, strict=True):
        assert one == two
    assert after["resumed"] - before.get("resumed", 0) > sum(map(len, loops)) // 3


Round = tuple[Reply, tuple[str, ...], bool]
SIZES = (0, 1, 50, 1000, 1000, 20_000, 60_000, 300_000, 1_000_000)


def random_loop(rng: random.Random, number: int, longest: int, all_sizes: Sequence[int]) -> list[Round]:
    """Answers, the results for their calls, and whether they are streamed; the last one calls nothing."""
    rounds: list[Round] = []
    for step in range(rng.randint(1, longest)):
        ids = [f"r{number}_{step}_{n}" for n in range(rng.choice((1, 1, 1, 2, 3, 8)))]
        answer = call(*ids, thought=rng.choice(("", "hm")), said=rng.choice(("", "So. ", "\nI look\n")))
        # Not so much in all that the CLI finds the prompt too long.
        sizes = [rng.choice(all_sizes if step == 0 and len(ids) == 1 else all_sizes[:5]) for _ in ids]
        rounds.append(
            (answer, tuple(("w\u00f6rd \n" * (size // 6 + 1))[:size] for size in sizes), rng.random() < 0.5)
        )
    return [*rounds, (Reply.of("End."), (), rng.random() < 0.5)]


def run_loop(server: Server, api: StandIn, rounds: Sequence[Round]) -> None:
    agent = Agent(server, api)
    new = [user("Go.")]
    for answer, texts, stream in rounds:
        message = agent.ask(answer, *new, stream=stream)
        new = results(message, *texts) if texts else []
