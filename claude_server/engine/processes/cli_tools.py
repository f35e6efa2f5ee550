"""How a process is told of the CLI's own tools, and of MCP servers. Pure.

Nothing that a client sends is an option of its own: rules go into JSON that we make, numbers are numbers, and
names are those of the CLI's own list.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from claude_server.core.cli_tools import CliTools, McpServer

# In the process's own folder: values in it may be secret, and a command line can be read by others.
MCP_CONFIG_FILE = "mcp.json"
# Milliseconds for a server to come up; a turn doesn't fail for one that doesn't.
_MCP_TIMEOUT = "10000"
# One rule for all that write files. Reading inside the work folder needs none.
_WRITERS = frozenset({"Write", "Edit", "MultiEdit", "NotebookEdit"})
_READERS = frozenset({"Read", "Glob", "Grep", "LS"})
# What the CLI adds by itself, and is nobody else's business.
_ADDED_BY_THE_CLI = ("CLAUDE_CODE_MESSAGING_SOCKET", "CLAUDE_CODE_MESSAGING_TOKEN")

# Without it the CLI tells the model to sign commits, in the caller's message.
NO_NOTE_ON_COMMITS = {"attribution": {"commit": "", "pr": ""}, "includeCoAuthoredBy": False}


def tool_arguments(tools: CliTools, folder: str, tmp: Path, private: Sequence[Path]) -> list[str]:
    """The options of a process with tools: file tools stay inside `folder`, and off the files of
    `private`, paths or patterns."""
    permissions = {
        "allow": _rules(tools.allowed, folder),
        "deny": [
            *tools.denied,
            *(f"{tool}(/{path})" for path in private for tool in ("Read", "Edit")),
        ],
    }
    settings = json.dumps({"permissions": permissions, **NO_NOTE_ON_COMMITS})
    result = [f"--tools={','.join(tools.offered)}", f"--settings={settings}"]
    result.append(f"--max-turns={tools.max_turns}")
    if tools.servers:
        result.append(f"--mcp-config={tmp / MCP_CONFIG_FILE}")
    return result


def _rules(allowed: Iterable[str], folder: str) -> list[str]:
    # Without a rule the CLI lets its tools read inside the folder it runs in, and nowhere else; a rule of a
    # bare name would open the whole machine to them.
    plain = [rule for rule in allowed if rule not in _WRITERS | _READERS]
    return [*plain, *([f"Edit(/{folder}/**)"] if not _WRITERS.isdisjoint(allowed) else ())]


def tool_environment(tools: CliTools) -> dict[str, str]:
    """The variables of such a process."""
    result = {"MCP_TIMEOUT": _MCP_TIMEOUT, "MCP_CONNECTION_NONBLOCKING": "0"} if tools.servers else {}
    if tools.thinking_tokens is not None:
        result["MAX_THINKING_TOKENS"] = str(tools.thinking_tokens)
    return result


def mcp_config(servers: Iterable[McpServer], environment: Collection[str]) -> str:
    """The file that names MCP servers to the CLI. `environment`: names of the process's variables, which its
    servers would inherit: login and keys among them."""
    return json.dumps({"mcpServers": {server.name: _mcp_entry(server, environment) for server in servers}})


def _mcp_entry(server: McpServer, environment: Collection[str]) -> Mapping[str, Any]:
    if server.transport != "stdio":
        return {"type": server.transport, "url": server.url, "headers": dict(server.headers)}
    own = dict(server.env)
    hidden = {*environment, *_ADDED_BY_THE_CLI} - own.keys()
    unset = [word for name in sorted(hidden) if not server.may_see(name) for word in ("-u", name)]
    return {"command": "/usr/bin/env", "args": [*unset, server.command, *server.args], "env": own}
