"""Resolves which of the CLI's own tools a request gets, and lists them for the endpoints. Pure.

The operator says what may be used at all; a key, one of its sessions, and last a request's headers choose
among that. What is named and may not be used is refused in words, never left out silently.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from claude_server.core.cli_tools import CliTool, CliTools, McpServer, PermissionMode
from claude_server.core.errors import InvalidRequest, ToolsNotAllowed
from claude_server.http.admin.wire import cli_tools as wire

DEFAULT = ("Read", "Glob", "Grep", "Bash", "Write", "Edit")
MAX_TURNS = "x-claude-max-turns"
ALLOWED = "x-claude-allowed-tools"
DISALLOWED = "x-claude-disallowed-tools"
PERMISSION_MODE = "x-claude-permission-mode"
THINKING_TOKENS = "x-claude-max-thinking-tokens"
HEADERS = (MAX_TURNS, ALLOWED, DISALLOWED, PERMISSION_MODE, THINKING_TOKENS)
_DEFAULT_MAX_TURNS = 10
_TURNS_LIMIT = 1000
_THINKING_LIMIT = 1_000_000
NOT_ALLOWED = (
    "The CLI's own tools are not allowed on this server: its operator can allow them with CLAUDE_ALLOW_TOOLS "
    "and CLAUDE_CWD."
)
# A name, or a name with a pattern; one line, no nesting.
_RULE = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_-]{0,127})(\((?P<pattern>[^()\n\r]{1,200})\))?")
_SPLIT = re.compile(r",(?![^()]*\))")
# A pattern of a tool for files would be a place outside the work folder.
_WITH_PATTERNS = frozenset({"Bash", "WebFetch"})
# Bytes. Two such lists go into one argument of a command line, and that may be 128 KiB long.
_MAX_RULES_BYTES = 48 * 1024
_MCP = "mcp__"
# What a tool is about; whether what it does can be undone; whether it needs the network.
_KINDS: Mapping[str, tuple[str, bool, bool]] = {
    **dict.fromkeys(("Read", "LS", "NotebookRead"), ("file", True, False)),
    **dict.fromkeys(("Write", "Edit", "MultiEdit", "NotebookEdit"), ("file", False, False)),
    **dict.fromkeys(("Glob", "Grep"), ("search", True, False)),
    **dict.fromkeys(("Bash", "KillShell"), ("system", False, False)),
    "BashOutput": ("system", True, False),
    **dict.fromkeys(("WebFetch", "WebSearch"), ("web", True, True)),
    **dict.fromkeys(("Agent", "Task"), ("agent", False, False)),
}
_PLANNING = ("task", True, False)


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """The operator's permissions for tools. `names` of CLAUDE_ALLOW_TOOLS: ("*",) is all, () none."""

    names: tuple[str, ...] = ()
    bypass: bool = False
    mcp: bool = False

    def __contains__(self, name: str) -> bool:
        return "*" in self.names or name in self.names


@dataclass(frozen=True, slots=True)
class ToolHeaders:
    """A request's headers about tools, parsed; None: not sent. `given`: the names of those sent."""

    given: tuple[str, ...] = ()
    max_turns: int | None = None
    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] | None = None
    permission_mode: PermissionMode | None = None
    thinking_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ToolRules:
    """The rules that a key configured, for itself or for a session; None: not configured."""

    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] | None = None


def parse_headers(headers: Mapping[str, str]) -> ToolHeaders:
    """Parse a request's headers about tools. Raises InvalidRequest naming the header."""
    mode = headers.get(PERMISSION_MODE)
    if mode is not None and mode not in get_args(PermissionMode):
        modes = ", ".join(get_args(PermissionMode))
        raise InvalidRequest(f"'{PERMISSION_MODE}' must be one of {modes}.", param=PERMISSION_MODE)
    return ToolHeaders(
        given=tuple(name for name in HEADERS if name in headers),
        max_turns=_number(headers, MAX_TURNS, 1, _TURNS_LIMIT),
        allowed=_listed(headers, ALLOWED),
        denied=_listed(headers, DISALLOWED),
        permission_mode=cast("PermissionMode | None", mode),
        thinking_tokens=_number(headers, THINKING_TOKENS, 0, _THINKING_LIMIT),
    )


def _number(headers: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,7}", text) or not least <= int(text) <= most:
        raise InvalidRequest(f"'{name}' must be a whole number from {least} to {most}.", param=name)
    return int(text)


def _listed(headers: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    text = headers.get(name)
    return None if text is None else tuple(item.strip() for item in _SPLIT.split(text) if item.strip())


class ToolResolver:
    """Resolves rules against the CLI's `known` tools, the MCP servers and the operator's policy."""

    def __init__(
        self, known: Sequence[CliTool], servers: Sequence[McpServer], tool_policy: ToolPolicy
    ) -> None:
        self._known = {tool.name for tool in known}
        self._servers = {server.name: server for server in servers}
        self._tool_policy = tool_policy

    def tools(self, wanted: ToolHeaders, choices: Sequence[ToolRules]) -> CliTools:
        """The tools of a turn. `choices`: configured rules, the most specific first. Raises TurnError."""
        if wanted.permission_mode == "bypassPermissions" and not self._tool_policy.bypass:
            raise ToolsNotAllowed(
                "The permission mode bypassPermissions is not allowed here: the operator can allow it with "
                "CLAUDE_ALLOW_BYPASS.",
                param=PERMISSION_MODE,
            )
        if wanted.allowed is not None:
            self.check(wanted.allowed, ALLOWED)
        if wanted.denied is not None:
            self.check_names(wanted.denied, DISALLOWED)
        chosen = ToolRules(wanted.allowed, wanted.denied)
        allowed, denied = self.effective([chosen, *choices])
        names = [_name(rule) for rule in allowed]
        return CliTools(
            offered=tuple(dict.fromkeys(name for name in names if not name.startswith(_MCP))),
            allowed=allowed,
            denied=denied,
            max_turns=wanted.max_turns or _DEFAULT_MAX_TURNS,
            permission_mode=wanted.permission_mode or "default",
            thinking_tokens=wanted.thinking_tokens,
            servers=tuple(
                server
                for name, server in self._servers.items()
                if any(rule == _MCP + name or rule.startswith(f"{_MCP}{name}__") for rule in names)
            ),
        )

    def effective(self, choices: Sequence[ToolRules]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The rules that allow, without what is denied by name, and those that deny. Names that were chosen
        once and are not there or not allowed any more are left out."""
        default = (*DEFAULT, *(_MCP + name for name in self._servers))
        allowed = next((choice.allowed for choice in choices if choice.allowed is not None), default)
        denied = next((choice.denied for choice in choices if choice.denied is not None), ())
        gone = set(denied)
        kept = [rule for rule in allowed if rule not in gone and _name(rule) not in gone]
        return tuple(rule for rule in kept if self._usable(_name(rule))), denied

    def _usable(self, name: str) -> bool:
        return self._is_of_server(name) or (name in self._known and name in self._tool_policy)

    def _is_of_server(self, name: str) -> bool:
        return name.startswith(_MCP) and name.removeprefix(_MCP).split("__")[0] in self._servers

    def check(self, rules: Sequence[str], where: str) -> None:
        """Are these good to allow? Raises InvalidRequest or ToolsNotAllowed."""
        self.check_names(rules, where)
        for rule in rules:
            name = _name(rule)
            if rule != name and name not in _WITH_PATTERNS:
                raise InvalidRequest(
                    f"'{rule[:100]}' in '{where}': only Bash and WebFetch are allowed by a pattern.",
                    param=where,
                )
            if not self._usable(name):
                raise ToolsNotAllowed(
                    f"The tool '{name}' is not allowed on this server: its operator can allow it with "
                    "CLAUDE_ALLOW_TOOLS.",
                    param=where,
                )

    def check_names(self, rules: Sequence[str], where: str) -> None:
        """Are these rules, of tools that there are? Raises InvalidRequest."""
        if len(json.dumps([*rules])) > _MAX_RULES_BYTES:
            raise InvalidRequest(
                f"The rules in '{where}' are longer than {_MAX_RULES_BYTES} bytes, written as JSON.",
                param=where,
            )
        for rule in rules:
            found = _RULE.fullmatch(rule)
            if found is None or not (found["name"] in self._known or self._is_of_server(found["name"])):
                raise InvalidRequest(
                    f"There is no tool '{rule[:100]}' (in '{where}'): GET /v1/tools lists them.", param=where
                )


def _name(rule: str) -> str:
    return rule.partition("(")[0]


def listing(known: Sequence[CliTool], tool_policy: ToolPolicy) -> wire.ToolList:
    """The tools that may be used."""
    tools = [_described(tool) for tool in known if tool.name in tool_policy]
    return wire.ToolList(tools=tools, total=len(tools))


def _described(tool: CliTool) -> wire.ToolInfo:
    category, is_safe, requires_network = _KINDS.get(tool.name, _PLANNING)
    parameters: dict[str, Any] = json.loads(tool.schema)
    return wire.ToolInfo(
        name=tool.name,
        description=tool.description,
        category=category,
        parameters=parameters,
        is_safe=is_safe,
        requires_network=requires_network,
    )


def categories(tools: Iterable[wire.ToolInfo]) -> dict[str, int]:
    """How many there are of each category."""
    return dict(Counter(tool.category for tool in tools))
