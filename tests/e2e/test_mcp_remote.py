"""MCP servers behind a url: one of the mcp library, for the real CLI, by each way of transport."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from claude_server.standin import Reply, StandIn, ToolUse
from tests.e2e.test_cli_tools import KEYS, answer, results, serving_tools
from tests.e2e.test_mcp import OTHER, answer_when_connected, listed, post
from tests.support import BASE_PATH, PATIENCE, ROOT

KEY = "the-key-of-the-remote-one"
HEADERS = {"X-Key": KEY, "X-Team": "blue"}
KINDS = ("http", "sse")


class Remote(NamedTuple):
    url: str
    process: subprocess.Popen[str]


@contextmanager
def remote(kind: str) -> Iterator[Remote]:
    """A server, while it runs."""
    command = [sys.executable, str(ROOT / "tests" / "e2e" / "remote_mcp.py"), kind, KEY]
    environment = {"PATH": BASE_PATH, "LANG": "C.UTF-8"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        yield Remote(url, process)
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    with remote("http") as http, remote("sse") as sse:
        yield {"http": http.url, "sse": sse.url}


def named(kind: str, urls: dict[str, str], **headers: str) -> dict[str, Any]:
    # Without a type it is http.
    kinds = {"type": kind} if kind != "http" else {}
    return {"url": urls[kind], "headers": headers, **kinds}


@pytest.mark.parametrize("kind", KINDS)
def test_registered_connected_and_used(
    claude_bin: Path, api: StandIn, tmp_path: Path, urls: dict[str, str], kind: str
) -> None:
    """Its headers reach it in both, the look at what it has and a turn, and are never shown."""
    with serving_tools(tmp_path / "home", api, claude_bin, **KEYS, CLAUDE_ALLOW_MCP="on") as server:
        for key, status in (("wrong", 502), (KEY, 200)):
            headers = {**HEADERS, "X-Key": key}
            assert post(server, "servers", {"name": "far", **named(kind, urls, **headers)}).status_code == 200
            connected = post(server, "connect", {"server_name": "far"})
            assert connected.status_code == status, connected.text
            assert "\\n" not in connected.text
            assert listed(server)["far"]["connected"] is (status == 200)
        assert connected.json() == {
            "message": "Connected to MCP server 'far'",
            **{"tools": 2, "resources": 1, "prompts": 2},
        }
        told = listed(server)["far"]
        assert (told["url"], told["tools_count"], told["prompts_count"]) == (urls[kind], 2, 2)
        assert KEY not in json.dumps(told)
        api.push(Reply.of("I count.", ToolUse("mcp__far__add", {"a": 40, "b": 2})), Reply.of("Done."))
        message = answer(server, headers=OTHER)["choices"][0]["message"]
        assert results(api.last) == ["42 for blue"] and message["content"] == "I count.\n\nDone."
        assert {"mcp__far__add", "mcp__far__sub", "Bash"} <= set(api.last.tools)
        assert post(server, "disconnect", {"server_name": "far"}).status_code == 200
        answer(server, headers=OTHER)
        assert not [name for name in api.last.tools if name.startswith("mcp__")]


def test_a_file_names_them(each_cli: Path, api: StandIn, tmp_path: Path, urls: dict[str, str]) -> None:
    """Both ways at once, one tool of each in one turn; where nobody listens is said, and harms nothing."""
    nobody = {f"nobody-{kind}": {"type": kind, "url": "http://127.0.0.1:9/mcp"} for kind in KINDS}
    servers = {kind: named(kind, urls, **HEADERS) for kind in KINDS} | nobody
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    with serving_tools(tmp_path / "home", api, each_cli, CLAUDE_MCP_CONFIG=str(file)) as server:
        for kind in KINDS:
            answer_when_connected(server, kind)
            server.wait_for_line(f"can't be connected.*nobody-{kind}")
        stats = httpx.get(f"{server.url}/v1/mcp/stats").json()
        assert (stats["connected_servers"], stats["total_tools"]) == (2, 4)
        calls = [ToolUse(f"mcp__{kind}__add", {"a": n, "b": 1}) for n, kind in enumerate(KINDS)]
        api.push(Reply.of(*calls), Reply.of("Done."))
        answer(server, headers={"X-Claude-Allowed-Tools": "mcp__http__add, mcp__sse"})
        assert sorted(results(api.last)) == ["1 for blue", "2 for blue"]
        # A server is told of as a whole; what may be used of it is what the rules name.
        assert {"mcp__http__add", "mcp__sse__add", "mcp__sse__sub"} <= set(api.last.tools)


@pytest.mark.parametrize(
    ("kind", "then"), [("http", signal.SIGKILL), ("sse", signal.SIGSTOP), ("http", signal.SIGUSR1)]
)
def test_one_that_fails_later_is_missing(
    claude_bin: Path, api: StandIn, tmp_path: Path, kind: str, then: signal.Signals
) -> None:
    """Gone, silent, or with another key: a turn goes on without it, and nothing of it is offered."""
    file = tmp_path / "servers.json"
    with remote(kind) as far:
        file.write_text(json.dumps({"mcpServers": {"far": named(kind, {kind: far.url}, **HEADERS)}}))
        with serving_tools(tmp_path / "home", api, claude_bin, CLAUDE_MCP_CONFIG=str(file)) as server:
            answer_when_connected(server, "far")
            far.process.send_signal(then)
            assert answer(server)["choices"][0]["message"]["content"] == "You said: go"
            assert not [name for name in api.last.tools if name.startswith("mcp__")]
