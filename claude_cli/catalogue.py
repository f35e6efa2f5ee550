"""Which tools of its own an installed CLI has: what it tells a stand-in for the API when all are on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from claude_cli.argv import Launch
from claude_cli.control import conversation, initialize
from claude_cli.findings import Findings
from claude_cli.talk import Talk
from claude_cli.trial import trial
from turns.errors import CliFailed, TurnError
from turns.model import CliTool, CliTools, Message

log = structlog.get_logger("claude_cli")

_WITHIN = 20.0
# Those that are of use where nobody sits at a terminal and a turn ends with its answer. Of these it offers
# what it has: older and newer ones name some differently. What else it has asks a person, or plans for later.
_OF_USE = (
    *("Read", "Glob", "Grep", "LS", "Bash", "BashOutput", "KillShell", "Write", "Edit", "MultiEdit"),
    *("NotebookRead", "NotebookEdit", "WebFetch", "WebSearch", "TodoWrite", "Agent", "Task"),
    *("TaskCreate", "TaskGet", "TaskList", "TaskUpdate", "TaskOutput", "TaskStop"),
)


async def known(binary: str, signature: str, store: Path, environ: Mapping[str, str]) -> tuple[CliTool, ...]:
    """The tools of this binary, from the file `store` or found out anew; none if it doesn't say."""
    findings = Findings(store)
    kept = _kept(findings.load(signature))
    if kept is not None:
        return kept
    try:
        tools = await learn(binary, environ.get("PATH", ""))
    except TurnError as error:
        log.warning("the claude CLI doesn't say which tools it has", problem=error.message)
        return ()
    findings.save(signature, [asdict(tool) for tool in tools])
    return tools


def _kept(found: Any) -> tuple[CliTool, ...] | None:
    try:
        return tuple(CliTool(**tool) for tool in found)
    except TypeError:
        return None


async def learn(binary: str, path: str) -> tuple[CliTool, ...]:
    """Ask it. Takes a second and no network. Raises TurnError."""
    async with trial(binary, path) as (table, api):
        launch = Launch(tools=CliTools(offered=_OF_USE, allowed=()), folder=str(table.cwd))
        talk = Talk(await table.start(launch))
        await talk.run([initialize("")], _WITHIN)
        await talk.run(conversation((), Message("user", ("Which tools?",))), _WITHIN)
        if not api.turns:
            raise CliFailed("Nothing reached the stand-in for the API.")
        return _described(api.last.body.get("tools") or ())


def _described(offered: Sequence[dict[str, object]]) -> tuple[CliTool, ...]:
    return tuple(
        CliTool(
            str(tool["name"]), str(tool.get("description", "")), json.dumps(tool.get("input_schema") or {})
        )
        for tool in offered
    )
