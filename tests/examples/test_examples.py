"""The examples, run as their first lines say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_server.standin import Reply, StandIn, default_reply
from lab.demo import answer
from tests.support import BASE_PATH, PATIENCE, ROOT, Server, clean_environment, serving

EXAMPLES = ROOT / "examples"
KEY = "the-key-of-the-examples"


@pytest.fixture(scope="module")
def guarded(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that asks for a key."""
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(home, shared_api.url, CLAUDE_BIN=str(claude_bin), API_KEY=KEY)
    with serving(home, environment) as running:
        yield running


@pytest.fixture
def api(api: StandIn) -> Iterator[StandIn]:
    """The stand-in with the answers of `make demo`."""
    api.responder = lambda request: Reply.of(answer(request.conversation))
    yield api
    api.responder = default_reply


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": BASE_PATH, "LANG": "C.UTF-8", **environment}
    return subprocess.run(command, env=given, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("by", ["option", "environment"])
def test_session_continuity(guarded: Server, api: StandIn, by: str) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / "session_continuity.py")]
    command += ["--base-url", guarded.base_url]
    ran = run(*command, "--api-key", KEY) if by == "option" else run(*command, API_KEY=KEY)
    assert (ran.returncode, ran.stderr) == (0, "")
    knows, asks = "Your name is Alice.", "You haven't told me yet."
    said = [line.strip() for line in ran.stdout.splitlines() if line.startswith("  ")]
    assert said == ["Nice to meet you, Alice. I'll remember that.", knows, knows, asks, asks]
    assert re.search(r"^6 messages, expires at 20\d\d-", ran.stdout, re.MULTILINE)
    assert "1 in the list\n1 active\n" in ran.stdout
    assert "deleted successfully" in ran.stdout


def test_session_continuity_without_the_key(guarded: Server) -> None:
    ran = run(sys.executable, str(EXAMPLES / "session_continuity.py"), "--base-url", guarded.base_url)
    assert ran.returncode == 1 and "API key" in ran.stderr and "Traceback" not in ran.stderr


def test_session_curl(guarded: Server, api: StandIn) -> None:
    ran = run(str(EXAMPLES / "session_curl_example.sh"), BASE_URL=guarded.url, API_KEY=KEY)
    assert (ran.returncode, ran.stderr) == (0, "")
    shown = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    health, first, second, listed, session, stats, deleted = shown
    assert health["status"] == "healthy"
    assert first["x_claude"]["session"] == "created"
    assert second["choices"][0]["message"]["content"] == "Your name is Alice."
    assert [found["session_id"] for found in listed["sessions"]] == [session["session_id"]]
    assert session["message_count"] == 4
    assert stats["session_stats"]["active_sessions"] == 1
    assert "deleted successfully" in deleted["message"]


def test_session_curl_without_the_key(guarded: Server) -> None:
    """The error is shown, and nothing more is tried."""
    ran = run(str(EXAMPLES / "session_curl_example.sh"), BASE_URL=guarded.url)
    assert ran.returncode != 0
    assert "invalid_api_key" in ran.stdout and "The next one" not in ran.stdout
