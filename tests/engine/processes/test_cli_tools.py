"""The command line of a process with tools, and the file that names MCP servers to it."""

from __future__ import annotations

import json
from pathlib import Path

from claude_server.core.cli_tools import CliTools, McpServer
from claude_server.core.model import ToolRun
from claude_server.engine.processes.argv import Launch, arguments, environment
from claude_server.engine.processes.cli_tools import mcp_config
from claude_server.engine.protocol.cli_tool_events import CliToolTracker, summary

TMP = Path("/t")


def settings(launch: Launch, *private: str) -> dict[str, list[str]]:
    (given,) = [w for w in arguments("claude", launch, "", TMP, [*map(Path, private)]) if "--settings=" in w]
    found: dict[str, list[str]] = json.loads(given.removeprefix("--settings="))["permissions"]
    return found


def test_file_tools_stay_in_the_folder() -> None:
    """A rule of a bare name would open the whole machine to them."""
    tools = CliTools(("Read", "Write", "Bash"), ("Read", "Write", "Bash(ls *)"), ("Bash(rm *)",))
    launch = Launch(tools=tools, folder="/work")
    assert settings(launch, "/s/keys.json") == {
        "allow": ["Bash(ls *)", "Edit(//work/**)"],
        "deny": ["Bash(rm *)", "Read(//s/keys.json)", "Edit(//s/keys.json)"],
    }
    assert settings(Launch(tools=CliTools(("Read",), ("Read",)), folder="/work"))["allow"] == []


def test_what_a_request_says_is_no_option() -> None:
    hostile = CliTools(
        ("Bash",), ('Bash("--bare" \n--x)',), max_turns=3, permission_mode="plan", thinking_tokens=0
    )
    words = arguments("claude", Launch(tools=hostile, folder="/work"), "", TMP)
    assert [w for w in words if "--bare" in w] == [w for w in words if w.startswith("--settings=")]
    assert {"--tools=Bash", "--max-turns=3"} < set(words) and words[
        words.index("--permission-mode") + 1
    ] == "plan"
    assert "--disallowedTools" not in words
    made = environment({"MAX_THINKING_TOKENS": "9"}, 1, TMP, Launch(tools=hostile, folder="/work"))
    assert made["MAX_THINKING_TOKENS"] == "0"


def test_servers_do_not_inherit_the_login() -> None:
    servers = [
        McpServer("a", "run-a", ("--x",), (("TOKEN", "t"), ("ANTHROPIC_MODEL", "m"))),
        McpServer("b", transport="http", url="http://h/mcp", headers=(("X-Key", "k"),)),
    ]
    told = json.loads(mcp_config(servers, ["PATH", "LC_ALL", "ANTHROPIC_API_KEY", "ANTHROPIC_MODEL"]))[
        "mcpServers"
    ]
    assert told["a"]["command"] == "/usr/bin/env"
    assert told["a"]["env"] == {"TOKEN": "t", "ANTHROPIC_MODEL": "m"}
    words = told["a"]["args"]
    assert words[-2:] == ["run-a", "--x"] and words[:2] == ["-u", "ANTHROPIC_API_KEY"]
    assert not {"PATH", "LC_ALL", "ANTHROPIC_MODEL"} & set(words)
    assert told["b"] == {"type": "http", "url": "http://h/mcp", "headers": {"X-Key": "k"}}


def test_a_call_in_a_line() -> None:
    assert summary({"command": "ls\n  -la", "description": "list"}) == "ls -la"
    assert summary({"a": 1}) == '{"a": 1}' and summary({}) == "{}"
    assert len(summary({"command": "x" * 999})) == 200


def test_texts_of_several_messages_are_apart() -> None:
    own = CliToolTracker()
    own.message_started()
    assert own.with_spacing("a") == "a" and own.with_spacing("b") == "b"
    own.message_started()
    assert own.runs_started(
        [{"type": "text"}, {"type": "tool_use", "name": "Bash", "input": {"command": "x"}}]
    ) == [ToolRun("Bash", "x")]
    own.message_started()
    assert own.with_spacing("c") == "\n\nc" and own.with_spacing("d") == "d"
