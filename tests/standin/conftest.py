"""The stand-in, and the real `claude` CLI run against it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from claude_server.standin import StandIn

# The argv and the environment that a turn is run with; see the facts about the CLI.
ARGUMENTS = (
    "-p",
    *("--input-format", "stream-json", "--output-format", "stream-json"),
    *("--verbose", "--include-partial-messages"),
    *("--tools", "", "--setting-sources", "", "--strict-mcp-config", "--disable-slash-commands"),
    *("--disallowedTools", "Read(//**)", "--no-session-persistence", "--permission-mode", "dontAsk"),
)
SETTINGS = {
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "DISABLE_AUTO_COMPACT": "1",
    "ENABLE_TOOL_SEARCH": "false",
    "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
PATIENCE = 60.0
MOST_EVENTS = 5_000


@pytest.fixture
def api() -> Iterator[StandIn]:
    """A running stand-in; a responder that failed fails the test."""
    with StandIn() as running:
        yield running
    assert running.failures == []


@pytest.fixture(scope="session")
def claude_bin() -> Path:
    """The CLI: TEST_CLAUDE_BIN, else the one in the wheel of claude-agent-sdk."""
    named = os.environ.get("TEST_CLAUDE_BIN")
    if named:
        return Path(named)
    found = importlib.util.find_spec("claude_agent_sdk")
    assert found is not None and found.origin is not None, "install claude-agent-sdk or set TEST_CLAUDE_BIN"
    return Path(found.origin).parent / "_bundled" / "claude"


class Cli:
    """One `claude -p` process in stream-json mode."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def send(self, line: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        await self.process.stdin.drain()

    async def read(self) -> dict[str, Any]:
        """The next event. Fails when the process ends or says nothing for too long."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        assert line, "the CLI ended"
        event: dict[str, Any] = json.loads(line)
        return event

    async def ask(self, content: Any) -> str:
        """Send a question, don't wait; returns its uuid."""
        name = str(uuid.uuid4())
        await self.send(
            {
                "type": "user",
                "message": {"role": "user", "content": content},
                "parent_tool_use_id": None,
                "session_id": "",
                "uuid": name,
            }
        )
        return name

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """All events up to the first of a type."""
        events = [await self.read()]
        while events[-1]["type"] != kind:
            # A CLI and a stand-in that keep each other busy must not fill the memory.
            assert len(events) < MOST_EVENTS, f"no {kind} after {MOST_EVENTS} events"
            events.append(await self.read())
        return events

    async def turn(self, content: Any) -> list[dict[str, Any]]:
        """Ask and read up to the result, which is the last event."""
        await self.ask(content)
        return await self.until("result")

    async def close(self) -> int:
        """End the input and wait; kill it if it lingers."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.communicate(), PATIENCE)
        except asyncio.TimeoutError:
            self.process.kill()
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


class StartCli(Protocol):
    """`await start_cli(*arguments, NAME="value")`: extra arguments and environment; None unsets."""

    async def __call__(self, *arguments: str, **environment: str | None) -> Cli: ...


@pytest.fixture
async def start_cli(claude_bin: Path, api: StandIn, tmp_path: Path) -> AsyncIterator[StartCli]:
    """Starts the CLI against `api`, with an environment that has nothing of the shell's."""
    started: list[Cli] = []
    for name in ("home", "work", "tmp"):
        (tmp_path / name).mkdir()

    async def start(*arguments: str, **environment: str | None) -> Cli:
        wanted: dict[str, str | None] = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path / "home"),
            "TMPDIR": str(tmp_path / "tmp"),
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "sk-ant-made-up",
            **SETTINGS,
            **environment,
        }
        process = await asyncio.create_subprocess_exec(
            *(str(claude_bin), *ARGUMENTS, "--model", "sonnet", "--system-prompt", "Be brief.", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in wanted.items() if value is not None},
            cwd=tmp_path / "work",
            limit=64 * 1024 * 1024,
        )
        started.append(Cli(process))
        return started[-1]

    yield start
    for cli in started:
        await cli.close()
