"""What the CLI says of itself, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claude_server.core.errors import NotReady
from claude_server.core.model import ModelInfo
from claude_server.engine.discovery.probe import INSTALL_HINT, find_binary, parse_info

VERSION = (2, 1, 330)


def test_models() -> None:
    answer = {
        "models": [
            {
                "value": "default",
                "displayName": "Default",
                "resolvedModel": "claude-x",
                "supportsAdaptiveThinking": True,
            },
            {"value": "opus", "displayName": ""},
            {"value": 5},
            {"displayName": "nameless"},
            "sonnet",
        ]
    }
    found = parse_info(VERSION, answer)
    assert found.models == (ModelInfo("default", "Default", "claude-x", True), ModelInfo("opus", "opus"))
    assert found.version == VERSION
    assert found.version_text == "2.1.330"


@pytest.mark.parametrize("answer", [{}, {"models": None}, {"models": []}])
def test_no_models(answer: dict[str, Any]) -> None:
    assert parse_info(VERSION, answer).models == ()


@pytest.mark.parametrize(
    ("account", "logged_in", "method"),
    [
        (None, None, None),
        ("somebody", None, None),
        ({}, False, None),
        ({"tokenSource": "none", "apiKeySource": "none"}, False, None),
        ({"tokenSource": "none", "apiKeySource": "ANTHROPIC_API_KEY"}, True, "ANTHROPIC_API_KEY"),
        ({"tokenSource": "claude.ai", "apiKeySource": "none"}, True, "claude.ai"),
        # A key wins over a login.
        ({"tokenSource": "claude.ai", "apiKeySource": "ANTHROPIC_API_KEY"}, True, "ANTHROPIC_API_KEY"),
        ({"subscriptionType": "Claude Max", "email": "a@b.c"}, True, "claude.ai Claude Max"),
        ({"email": "a@b.c"}, True, "claude.ai"),
        ({"apiKeySource": "ANTHROPIC_API_KEY", "subscriptionType": "Claude Max"}, True, "ANTHROPIC_API_KEY"),
        ({"subscriptionType": None, "email": ""}, False, None),
        ({"apiProvider": "firstParty", "apiKeySource": "apiKeyHelper"}, True, "apiKeyHelper"),
        ({"apiProvider": "bedrock"}, True, "bedrock"),
    ],
)
def test_logins(account: object, logged_in: bool | None, method: str | None) -> None:
    found = parse_info(VERSION, {"account": account})
    assert (found.logged_in, found.login_method) == (logged_in, method)


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_binary_by_its_name(tmp_path: Path) -> None:
    wanted = executable(tmp_path / "claude")
    assert find_binary("claude", f"/nowhere:{tmp_path}") == str(wanted)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "claude"
    link.symlink_to(executable(tmp_path / "claude-2.1.330"))
    assert find_binary("claude", str(tmp_path)) == str(link)


def test_a_binary_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = executable(tmp_path / "my claude")
    assert find_binary(str(wanted), "") == str(wanted)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_binary("~/my claude", "") == str(wanted)


@pytest.mark.parametrize("name", ["./claude", "bin/claude"])
def test_a_binary_by_a_path_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "bin").mkdir()
    wanted = executable(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert find_binary(name, "/usr/bin") == str(wanted)


@pytest.mark.parametrize("name", ["claude", "/nowhere/claude", ""])
def test_no_binary(tmp_path: Path, name: str) -> None:
    (tmp_path / "claude").write_text("not executable")
    with pytest.raises(NotReady) as raised:
        find_binary(name, str(tmp_path))
    assert raised.value.message == f"The claude CLI was not found as '{name}'. {INSTALL_HINT}"


def test_one_beside_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found without an activated environment; one on the PATH goes before it."""
    for name in ("venv", "bin"):
        (tmp_path / name).mkdir()
    beside, on_path = executable(tmp_path / "venv" / "claude"), executable(tmp_path / "bin" / "claude")
    monkeypatch.setattr("sys.executable", str(beside.with_name("python")))
    assert find_binary("claude", "/nowhere") == str(beside)
    assert find_binary("claude", str(on_path.parent)) == str(on_path)
