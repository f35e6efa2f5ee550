"""Command line and environment of a claude process. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_server.core.cli_tools import CliTools
from claude_server.core.model import SessionPlan
from claude_server.engine.processes.cli_tools import NO_NOTE_ON_COMMITS, tool_arguments, tool_environment
from claude_server.engine.protocol.transcript import Conversation

# 2.0.77 sends three requests of its own, 40 kB each, before a turn; between the two nothing was tried.
OLDEST = (2, 1, 50)
# Set in every process we start, with our own process id: how a later start finds what was left behind.
OWNER_MARK = "CLAUDE_API_OWNER"
# Leaves out the notes on the environment and the date that the CLI adds to a conversation, and most of its
# own tools. A login with an account (claude.ai) can't be used with it.
SIMPLE = "CLAUDE_CODE_SIMPLE"
# In the process's own folder, for the plain way of asking.
SYSTEM_PROMPT_FILE = "system-prompt"
# And for earlier messages. By its ending the CLI knows that it is a file.
TRANSCRIPT_FILE = "transcript.jsonl"
# Of the CLI's own tool Bash: what it adds to a question, on how to sign commits, for any tool of that name.
_NO_NOTE_ON_COMMITS = json.dumps(NO_NOTE_ON_COMMITS, separators=(",", ":"))
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,255}")


@dataclass(frozen=True, slots=True)
class Launch:
    """What is fixed for a process's life.

    `model` None: the account's default. `custom_model`: an unlisted model that it may be set to later.
    `effort` and `flags` (variables) are for CLIs that can't be told them later. `plain`: one text in, one
    answer out, with this system prompt. `tools`: what it may run by itself, in `folder`; what the CLI keeps
    of that bears `trace`, a UUID of this process alone. `conversation`: what it holds from the start on.
    """

    model: str | None = None
    session: SessionPlan | None = None
    custom_model: str | None = None
    effort: str | None = None
    flags: tuple[tuple[str, str], ...] = ()
    plain: str | None = None
    tools: CliTools | None = None
    folder: str = ""
    trace: str = ""
    conversation: Conversation | None = None


def valid_model(name: str) -> bool:
    """Can this be a model's name? Aliases, full ids, sonnet[1m], Bedrock ARNs; never an option."""
    return _MODEL_NAME.fullmatch(name) is not None


def arguments(
    binary: str, launch: Launch, setting_sources: str, tmp: Path, private: Sequence[Path] = ()
) -> list[str]:
    """The command line: no settings, hooks, MCP servers or CLAUDE.md, no commands; no tools and nothing read
    either, unless the launch has them. `private`: files that no tool for files may touch."""
    result = [binary, "-p"]
    if launch.plain is None:
        result += ["--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
        # Before a tool is run that isn't allowed we are asked, and nothing is until we answer.
        mode = "default" if launch.tools is None else launch.tools.permission_mode
        result += ["--include-partial-messages", "--permission-mode", mode]
        result += ["--permission-prompt-tool", "stdio"]
    else:
        # By file: an argument may not be longer than 128 KiB.
        result += ["--output-format", "json", "--system-prompt-file", str(tmp / SYSTEM_PROMPT_FILE)]
        result += ["--permission-mode", "dontAsk"]
    if launch.tools is None:
        result += ["--tools", "", "--disallowedTools", "Read(//**)", "--settings", _NO_NOTE_ON_COMMITS]
    else:
        result += tool_arguments(launch.tools, launch.folder, tmp, private)
    result += ["--setting-sources", setting_sources, "--strict-mcp-config", "--disable-slash-commands"]
    if launch.model is not None:
        result += ["--model", launch.model]
    if launch.effort is not None:
        result += ["--effort", launch.effort]
    if launch.session is None:
        # Older CLIs keep what tools wrote under the session's name, even of a session that isn't kept.
        named = ["--session-id", launch.trace] if launch.trace else []
        return [*result, *named, *_loaded(launch, tmp), "--no-session-persistence"]
    if launch.session.how == "create":
        return [*result, "--session-id", launch.session.uuid]
    # With "=": a value after a space that begins with a dash would be taken for an option.
    result.append(f"--resume={launch.session.uuid}")
    if launch.session.at is not None:
        # Leaves out what a failed turn, or one whose client left, added after the last answer.
        result.append(f"--resume-session-at={launch.session.at}")
    return result


def _loaded(launch: Launch, tmp: Path) -> list[str]:
    if launch.conversation is None:
        return []
    # Without the second one the CLI would take results that nothing follows on for a turn that was cut.
    at = f"--resume-session-at={launch.conversation.last_id}"
    return [f"--resume={tmp / TRANSCRIPT_FILE}", at]


def environment(base: Mapping[str, str], owner: int, tmp: Path, launch: Launch) -> dict[str, str]:
    """The environment: `base` (already an allow-list) and what we set. `owner` is our process id."""
    if launch.tools is not None:
        base = {name: value for name, value in base.items() if name != SIMPLE}
    custom = {"ANTHROPIC_CUSTOM_MODEL_OPTION": launch.custom_model} if launch.custom_model else {}
    if launch.tools is not None:
        custom |= tool_environment(launch.tools)
        if launch.trace and "PATH" in base:
            # The CLI writes its PATH at the end of the shell snapshot that it makes: that one is ours.
            custom["PATH"] = f"{base['PATH']}:/nonexistent/{launch.trace}"
    else:
        # The CLI would tell of its own agents where the caller has a tool named Agent.
        custom["CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS"] = "1"
        # In place of a longer result of a caller's tool the CLI would tell the name of a file. In tokens:
        # more than any result that is given to it.
        custom["MAX_MCP_OUTPUT_TOKENS"] = "1000000"
    return {
        **base,
        **custom,
        **dict(launch.flags),
        OWNER_MARK: str(owner),
        "CLAUDE_CODE_TMPDIR": str(tmp),
        # A "@/path" in a message would put that file into the prompt.
        "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
        # Notes that the CLI keeps for a folder would go from one caller's turns into another's.
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # A cut stream must be an error, not a second request.
        "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
        # A 400 would be sent again with less.
        "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
        # Retries are ours.
        "CLAUDE_CODE_MAX_RETRIES": "0",
        # The transcript is written before the result is told.
        "CLAUDE_CODE_EAGER_FLUSH": "1",
        "DISABLE_AUTO_COMPACT": "1",
        "ENABLE_TOOL_SEARCH": "false",
        # The caller's tools keep their own names.
        "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }


def parse_version(text: str) -> tuple[int, int, int] | None:
    """(2, 1, 330) from "2.1.330 (Claude Code)"."""
    found = re.match(r"\s*(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
