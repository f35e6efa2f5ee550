"""Agents' loops of many rounds: each goes on in the worker that waits at the calls of the one before."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from claude_server.standin import ApiRequest, Reply, StandIn, Thinking, ToolUse
from tests.clients.conftest import Start
from tests.clients.environments import FOLDER, NODE
from tests.clients.program import environment
from tests.clients.scenes import blocks
from tests.proxy import Proxy
from tests.support import PATIENCE, Server

ROUNDS = 12
PROMPT = "Look behind every door."
END = "That was all."
# Program, group, and what tells its ways apart.
AGENTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("langchain", "with_langchain.py", {}),
    ("openai", "with_pydantic_ai.py", {}),
    ("agents", "with_agents.py", {"way": "chat"}),
    ("agents", "with_agents.py", {"way": "responses"}),
    (NODE, "with_ai_sdk.mjs", {}),
)


def play_doors(api: StandIn, name: str, arguments: Any) -> None:
    """The model calls the tool round after round, twice at once in every third one, and thinks before it."""

    def answer(request: ApiRequest) -> Reply:
        if name not in request.tools:
            return Reply.of("A title")
        done = sum(message["role"] == "assistant" for message in request.messages)
        if done >= ROUNDS:
            return Reply.of(END)
        calls = [ToolUse(name, arguments(10 * done + n)) for n in range(1 + (done % 3 == 2))]
        return Reply.of(Thinking(f"door {done}"), f"Now {done}.", *calls)

    api.responder = answer


def figures(server: Server) -> Counter[str]:
    workers: Any = server.health()["cli"]["workers"]
    return Counter({name: number for name, number in workers.items() if name != "idle"})


def check_loop(api: StandIn, server: Server, before: Counter[str]) -> None:
    """One request to the API for each round, each with what the one before held, and no fallback."""
    counted = figures(server) - before
    fallbacks = {name: number for name, number in counted.items() if name.startswith("not resumed")}
    print(f"rounds {ROUNDS}, resumed {counted['resumed']}, fallbacks {fallbacks}")
    assert fallbacks == {} and counted["resumed"] == ROUNDS
    turns = [turn for turn in api.turns if turn.tools]
    assert len(turns) == ROUNDS + 1
    for earlier, later in itertools.pairwise(turns):
        held = [plain(message) for message in earlier.messages]
        assert [plain(message) for message in later.messages][: len(held)] == held
    assert len(blocks(turns[-1], "tool_result")) == len(blocks(turns[-1], "tool_use")) == ROUNDS + ROUNDS // 3
    assert len(blocks(turns[-1], "thinking")) == ROUNDS


def plain(message: dict[str, Any]) -> Any:
    """A message as the API's cache compares it."""
    content = message["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return message["role"], [{n: v for n, v in block.items() if n != "cache_control"} for block in content]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("group", "program", "ways"), AGENTS)
def test_loop(
    start: Start, api: StandIn, server: Server, group: str, program: str, ways: dict[str, str], stream: bool
) -> None:
    play_doors(api, "look", lambda number: {"number": number})
    agent = start(group, program)
    before = figures(server)
    assert agent("loop", prompt=PROMPT, stream=stream, **ways) == {"text": END}
    check_loop(api, server, before)
    results = [str(block["content"]) for block in blocks(api.last, "tool_result")]
    assert "saw 0" in results[0] and "saw 110" in results[-2]


def test_loop_of_opencode(api: StandIn, server: Server, proxy: Proxy, tmp_path: Path) -> None:
    """The command, which runs a shell for each call."""
    config = {
        "provider": {
            "claude": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": f"{proxy.url}/v1", "apiKey": "not-used"},
                "models": {"sonnet": {}},
            }
        },
        "permission": {"bash": "allow"},
        "autoupdate": False,
        "share": "disabled",
    }
    (tmp_path / "opencode.json").write_text(json.dumps(config))
    play_doors(api, "bash", lambda number: {"command": f"echo saw {number}", "description": "Looks"})
    before = figures(server)
    ran = subprocess.run(
        [FOLDER / NODE / "node_modules" / ".bin" / "opencode", "run", "-m", "claude/sonnet", PROMPT],
        cwd=tmp_path,
        env={
            **environment(tmp_path, proxy),
            "PATH": f"{os.defpath}:/usr/bin",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    # It wants to install what its plugins need, and does without.
    proxy.outside.clear()
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert END in ran.stdout
    check_loop(api, server, before)
