"""Command line and environment of a process."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from claude_server.core.cli_tools import CliTools
from claude_server.core.model import Message, SessionPlan
from claude_server.engine.processes.argv import (
    OLDEST,
    SYSTEM_PROMPT_FILE,
    Launch,
    arguments,
    environment,
    parse_version,
    valid_model,
)
from claude_server.engine.protocol.transcript import Conversation

LONG = Conversation((Message("user", ("Q",)), Message("assistant", ("A",))))
STREAM = [
    *("--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
    *("--include-partial-messages", "--permission-mode", "default", "--permission-prompt-tool", "stdio"),
]
PLAIN = [
    *("--output-format", "json", "--system-prompt-file", "/t/system-prompt"),
    *("--permission-mode", "dontAsk"),
]
ALWAYS = [
    *("--tools", "", "--disallowedTools", "Read(//**)"),
    *("--settings", '{"attribution":{"commit":"","pr":""},"includeCoAuthoredBy":false}'),
    *("--setting-sources", "", "--strict-mcp-config", "--disable-slash-commands"),
]
UUID = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"


@pytest.mark.parametrize(
    ("launch", "more"),
    [
        (Launch(), ["--no-session-persistence"]),
        (Launch("opus[1m]"), ["--model", "opus[1m]", "--no-session-persistence"]),
        (Launch(session=SessionPlan(UUID, "create")), ["--session-id", UUID]),
        (Launch("m", SessionPlan(UUID, "create", "at")), ["--model", "m", "--session-id", UUID]),
        (Launch(session=SessionPlan(UUID, "resume")), [f"--resume={UUID}"]),
        (
            Launch("m", SessionPlan(UUID, "resume", "mark-1", 0.5)),
            ["--model", "m", f"--resume={UUID}", "--resume-session-at=mark-1"],
        ),
        (Launch(effort="high"), ["--effort", "high", "--no-session-persistence"]),
        (
            Launch("m", SessionPlan(UUID, "resume"), effort="low"),
            ["--model", "m", "--effort", "low", f"--resume={UUID}"],
        ),
        (
            Launch("m", conversation=LONG),
            [
                *("--model", "m", "--resume=/t/transcript.jsonl", f"--resume-session-at={LONG.last_id}"),
                "--no-session-persistence",
            ],
        ),
        # These are told by the environment.
        (Launch(custom_model="x", flags=(("A", "1"),)), ["--no-session-persistence"]),
    ],
)
def test_the_command_line(launch: Launch, more: list[str]) -> None:
    assert arguments("/bin/claude", launch, "", Path("/t")) == ["/bin/claude", "-p", *STREAM, *ALWAYS, *more]
    plain = replace(launch, plain="S")
    assert arguments("/bin/claude", plain, "", Path("/t")) == ["/bin/claude", "-p", *PLAIN, *ALWAYS, *more]


def test_a_system_prompt_is_no_argument() -> None:
    """It may be longer than an argument may be."""
    for text in ("", "Be kind." * 100_000):
        given = arguments("claude", Launch(plain=text), "", Path("/t"))
        assert sum(map(len, given)) < 1000
        assert ("--system-prompt-file", f"/t/{SYSTEM_PROMPT_FILE}") in itertools.pairwise(given)


def test_setting_sources() -> None:
    given = arguments("claude", Launch(), "user", Path("/t"))
    assert ("--setting-sources", "user") in itertools.pairwise(given)


@pytest.mark.parametrize(
    "name",
    [
        "sonnet",
        "opus[1m]",
        "claude-opus-4-5-20251101",
        "claude-sonnet-4-5@20250929",
        "us.anthropic.claude-opus-4-1-20250805-v1:0",
        "arn:aws:bedrock:us-east-2:123456789012:application-inference-profile/abc_1",
        "a" * 256,
        "4",
    ],
)
def test_model_names(name: str) -> None:
    assert valid_model(name)


@pytest.mark.parametrize(
    "name",
    ["", "-m", "--dangerously-skip-permissions", "a b", "a\n", "a\0", "a;b", "a$b", "é", "[1m]", "a" * 257],
)
def test_what_is_no_model_name(name: str) -> None:
    assert not valid_model(name)


def test_the_environment() -> None:
    given = {"HOME": "/h", "ANTHROPIC_API_KEY": "k"}
    made = environment(given, 4321, Path("/state/tmp"), Launch())
    assert made == {
        "HOME": "/h",
        "ANTHROPIC_API_KEY": "k",
        "CLAUDE_API_OWNER": "4321",
        "CLAUDE_CODE_TMPDIR": "/state/tmp",
        "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
        "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "CLAUDE_CODE_EAGER_FLUSH": "1",
        "DISABLE_AUTO_COMPACT": "1",
        "ENABLE_TOOL_SEARCH": "false",
        "MAX_MCP_OUTPUT_TOKENS": "1000000",
        "CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS": "1",
        "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }
    assert given == {"HOME": "/h", "ANTHROPIC_API_KEY": "k"}


def test_what_a_launch_with_tools_leaves_can_be_told_from_all_else() -> None:
    """Shell snapshots by their PATH, output by its session's name; a session has one already."""
    launch = Launch(tools=CliTools(offered=("Bash",), allowed=("Bash",)), folder="/w", trace=UUID)
    made = environment({"PATH": "/bin"}, 1, Path("/t"), launch)
    assert made["PATH"] == f"/bin:/nonexistent/{UUID}"
    assert "PATH" not in environment({}, 1, Path("/t"), launch)
    given = arguments("claude", launch, "", Path("/t"))
    assert given[-3:] == ["--session-id", UUID, "--no-session-persistence"]
    other = "7d0e1a52-3c1f-4a51-9b7d-0a4c5f9e2b11"
    given = arguments("claude", replace(launch, session=SessionPlan(other, "create")), "", Path("/t"))
    assert given[-2:] == ["--session-id", other] and UUID not in given


def test_what_we_set_wins() -> None:
    base = {"CLAUDE_CODE_MAX_RETRIES": "9", "CLAUDE_API_OWNER": "1", "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "5"}
    launch = Launch(flags=(("CLAUDE_CODE_MAX_OUTPUT_TOKENS", "7"), ("CLAUDE_API_OWNER", "3")))
    made = environment(base, 2, Path("/t"), launch)
    assert (made["CLAUDE_CODE_MAX_RETRIES"], made["CLAUDE_API_OWNER"]) == ("0", "2")
    assert made["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "7"


def test_what_a_launch_adds_to_the_environment() -> None:
    bare = environment({}, 1, Path("/t"), Launch("m", effort="high", plain="S"))
    assert bare == environment({}, 1, Path("/t"), Launch())
    made = environment({}, 1, Path("/t"), Launch(custom_model="x", flags=(("A", "1"), ("B", "2"))))
    assert made == {**bare, "ANTHROPIC_CUSTOM_MODEL_OPTION": "x", "A": "1", "B": "2"}


def test_launches_that_are_alike_are_equal() -> None:
    """The pool counts by them."""
    one, two = (Launch("m", SessionPlan(UUID, "create"), "x", "low", (("A", "1"),), "S") for _ in range(2))
    assert (one, hash(one)) == (two, hash(two))
    assert len({one, replace(one, model=None), replace(one, session=None), replace(one, plain=None)}) == 4


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.1.330 (Claude Code)\n", (2, 1, 330)),
        (" 10.20.30", (10, 20, 30)),
        ("2.1", None),
        ("claude 2.1.330", None),
        ("", None),
    ],
)
def test_versions(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


def test_the_oldest_version_is_one_that_was_measured() -> None:
    assert OLDEST == (2, 1, 50)
