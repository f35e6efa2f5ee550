"""Which tools a request gets: the operator's word, a key's and a session's choice, a request's headers."""

from __future__ import annotations

from typing import Any

import pytest

from claude_server.core.cli_tools import CliTool, McpServer
from claude_server.core.errors import InvalidRequest, ToolsNotAllowed, TurnError
from claude_server.http.tool_requests import (
    ToolHeaders,
    ToolPolicy,
    ToolResolver,
    ToolRules,
    listing,
    parse_headers,
)

KNOWN = [CliTool(name, f"does {name}", '{"type":"object"}') for name in ("Read", "Bash", "Write", "WebFetch")]
ALL = ToolPolicy(("*",))
SERVERS = [McpServer("calc", "calc-server")]


def selection(tool_policy: ToolPolicy = ALL, servers: list[McpServer] | None = None) -> ToolResolver:
    return ToolResolver(KNOWN, servers or [], tool_policy)


def headers(**given: str) -> ToolHeaders:
    return parse_headers({f"x-claude-{name.replace('_', '-')}": value for name, value in given.items()})


def test_the_default_is_what_is_there_and_allowed() -> None:
    assert selection().tools(ToolHeaders(), []).offered == ("Read", "Bash", "Write")
    assert selection(ToolPolicy(("Read", "WebFetch"))).tools(ToolHeaders(), []).offered == ("Read",)


def test_the_more_special_choice_holds() -> None:
    session, key = ToolRules(("Read", "Bash"), None), ToolRules(("WebFetch",), ("Bash",))
    made = selection().tools(ToolHeaders(), [session, key])
    assert (made.offered, made.denied) == (("Read",), ("Bash",))
    made = selection().tools(headers(allowed_tools="Bash", disallowed_tools=""), [session, key])
    assert (made.offered, made.denied) == (("Bash",), ())


def test_a_choice_that_is_not_allowed_any_more_is_left_out() -> None:
    assert selection(ToolPolicy(("Read",))).tools(
        ToolHeaders(), [ToolRules(("Read", "Bash", "Gone"))]
    ).offered == ("Read",)


def test_patterns() -> None:
    made = selection().tools(headers(allowed_tools="Bash(git log, x), Bash(ls *),Read"), [])
    assert made.allowed == ("Bash(git log, x)", "Bash(ls *)", "Read") and made.offered == ("Bash", "Read")
    made = selection().tools(headers(disallowed_tools="Bash(rm *)"), [])
    assert "Bash" in made.offered and made.denied == ("Bash(rm *)",)


def test_servers() -> None:
    made = selection(servers=SERVERS).tools(ToolHeaders(), [])
    assert made.servers == tuple(SERVERS) and "mcp__calc" in made.allowed and "mcp__calc" not in made.offered
    assert selection(servers=SERVERS).tools(headers(allowed_tools="Read"), []).servers == ()
    made = selection(servers=SERVERS).tools(headers(allowed_tools="mcp__calc__add"), [])
    assert (made.servers, made.allowed, made.offered) == (tuple(SERVERS), ("mcp__calc__add",), ())
    assert selection(servers=SERVERS).tools(headers(disallowed_tools="mcp__calc"), []).servers == ()


@pytest.mark.parametrize(
    ("given", "error", "param"),
    [
        ({"allowed_tools": "Nonsense"}, InvalidRequest, "x-claude-allowed-tools"),
        ({"allowed_tools": "Read(/etc/**)"}, InvalidRequest, "x-claude-allowed-tools"),
        ({"allowed_tools": "Bash(a(b))"}, InvalidRequest, "x-claude-allowed-tools"),
        ({"allowed_tools": "mcp__other"}, InvalidRequest, "x-claude-allowed-tools"),
        ({"allowed_tools": "WebFetch"}, ToolsNotAllowed, "x-claude-allowed-tools"),
        ({"disallowed_tools": "--bare"}, InvalidRequest, "x-claude-disallowed-tools"),
        ({"permission_mode": "bypassPermissions"}, ToolsNotAllowed, "x-claude-permission-mode"),
    ],
)
def test_what_is_refused(given: dict[str, str], error: type[TurnError], param: str) -> None:
    with pytest.raises(error) as raised:
        selection(ToolPolicy(("Read", "Bash"))).tools(headers(**given), [])
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_turns", value) for value in ("", "0", "-1", "1.5", "1001", "12345678", "\u0663", "x")),
        *(("max_thinking_tokens", value) for value in ("-1", "1000001", "lots")),
        ("permission_mode", "Default"),
    ],
)
def test_headers_that_make_no_sense(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        headers(**{name: value})
    assert raised.value.param == f"x-claude-{name.replace('_', '-')}"


def test_headers_are_read() -> None:
    made: dict[str, Any] = {"max_turns": "3", "max_thinking_tokens": "0", "permission_mode": "plan"}
    found = headers(**made)
    assert (found.max_turns, found.thinking_tokens, found.permission_mode) == (3, 0, "plan")
    assert set(found.given) == {f"x-claude-{name.replace('_', '-')}" for name in made}
    turn = selection(ToolPolicy(("*",), bypass=True)).tools(headers(permission_mode="bypassPermissions"), [])
    assert (turn.permission_mode, turn.max_turns, turn.thinking_tokens) == ("bypassPermissions", 10, None)


def test_the_list_holds_what_is_allowed() -> None:
    found = listing(KNOWN, ToolPolicy(("Bash", "WebFetch")))
    assert [(t.name, t.is_safe, t.requires_network) for t in found.tools] == [
        ("Bash", False, False),
        ("WebFetch", True, True),
    ]
    assert found.total == 2
