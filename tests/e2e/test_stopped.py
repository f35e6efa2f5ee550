"""Idle processes that are stopped (SIGSTOP): whoever asks next doesn't wait for their deadline."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from claude_server.standin import StandIn
from tests.invariants import Invariants
from tests.support import PATIENCE, Server, clean_environment, serving

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
# A process that was used this many seconds ago is asked first; see worker.py.
_LONG_IDLE = 5.0


def ask(server: Server, text: str, **more: Any) -> None:
    """Ask, and get an answer without a retry that counts."""
    body = {"model": "sonnet", "messages": [{"role": "user", "content": text}], **more}
    answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    assert answer.json()["x_claude"]["retries"] == 0


def stop_all(server: Server) -> None:
    """Stop every process, once all of them have idled for long and none is being started."""
    seen: list[int] = []
    while seen != (seen := server.claude_processes()) or not seen:
        time.sleep(_LONG_IDLE + 0.5)
    for pid in seen:
        os.kill(pid, signal.SIGSTOP)


def test_stopped_processes_cost_nobody_a_deadline(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """A turn, one with a tool, and one of a session, which is resumed: each is one request to the API."""
    environment = clean_environment(
        tmp_path,
        api.url,
        CLAUDE_BIN=str(each_cli),
        CLAUDE_MAX_CONCURRENCY="2",
        # Longer than the test is willing to wait for an answer.
        CLAUDE_FIRST_EVENT_TIMEOUT="250",
    )
    with serving(tmp_path, environment, "--port", "0") as server:
        ask(server, "first", session_id="s")
        invariants = Invariants(server)
        for text, more in (("hi", {}), ("look", {"tools": [TOOL]}), ("second", {"session_id": "s"})):
            stop_all(server)
            api.reset()
            ask(server, text, **more)
            assert len(api.turns) == 1
            assert api.last.conversation[-1] == ("user", text)
        assert [words for role, words in api.last.conversation if role == "user"] == ["first", "second"]
        invariants.check()


def test_a_process_that_is_well_is_kept(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    environment = clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin))
    with serving(tmp_path, environment, "--port", "0") as server:
        ask(server, "hi")
        time.sleep(_LONG_IDLE + 0.5)
        before = set(server.claude_processes())
        ask(server, "hi again")
        assert before <= set(server.claude_processes())
        assert len(api.turns) == 2
