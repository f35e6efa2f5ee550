"""The CLI's own tools, as a turn may use them, and the operator's MCP servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PermissionMode = Literal["default", "acceptEdits", "plan", "dontAsk", "bypassPermissions"]

# Variables that programs need to run at all, and to reach the network.
_SEEN_BY_SERVERS = frozenset(
    {
        *("HOME", "PATH", "LANG", "TZ", "USER", "TMPDIR", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"),
        *("SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        # Marks of our processes: the next start finds by them what outlived us.
        *("CLAUDE_API_OWNER", "CLAUDE_CODE_TMPDIR"),
    }
)


@dataclass(frozen=True, slots=True)
class McpServer:
    """An MCP server: a program that the CLI starts, or one at `url` (`transport` http or sse). `env` and
    `headers` are pairs of name and value, and may be secret."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    transport: Literal["stdio", "http", "sse"] = "stdio"
    url: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @staticmethod
    def may_see(variable: str) -> bool:
        """May the server's program inherit this variable? Logins and keys it may not."""
        return variable in _SEEN_BY_SERVERS or variable.startswith("LC_")


@dataclass(frozen=True, slots=True)
class CliTools:
    """The CLI's own tools, which it runs by itself in a turn, in the operator's work folder.

    `offered`: names that the model is offered. `allowed`, `denied`: rules, a name or one like
    "Bash(git *)"; what no rule allows is refused. `thinking_tokens`: None leaves it to the CLI.
    """

    offered: tuple[str, ...]
    allowed: tuple[str, ...]
    denied: tuple[str, ...] = ()
    max_turns: int = 10
    permission_mode: PermissionMode = "default"
    thinking_tokens: int | None = None
    servers: tuple[McpServer, ...] = ()


@dataclass(frozen=True, slots=True)
class CliTool:
    """One of the CLI's own tools, as the API is told. `schema`: JSON text of its arguments' schema."""

    name: str
    description: str
    schema: str
