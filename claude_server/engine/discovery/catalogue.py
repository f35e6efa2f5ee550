"""Which tools of its own an installed CLI has: what it tells a stand-in for the API when all are on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from claude_server.core.cli_tools import CliTool, CliTools
from claude_server.core.errors import CliFailed, TurnError
from claude_server.core.model import Message
from claude_server.engine.discovery.sandbox import sandbox
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.binary_cache import BinaryCache
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.protocol.control import conversation, initialize

log = structlog.get_logger("claude_cli")

_TIMEOUT = 20.0
# Those that are of use where nobody sits at a terminal and a turn ends with its answer. Of these it offers
# what it has: older and newer ones name some differently. What else it has asks a person, or plans for later.
_USEFUL_TOOLS = (
    *("Read", "Glob", "Grep", "LS", "Bash", "BashOutput", "KillShell", "Write", "Edit", "MultiEdit"),
    *("NotebookRead", "NotebookEdit", "WebFetch", "WebSearch", "TodoWrite", "Agent", "Task"),
    *("TaskCreate", "TaskGet", "TaskList", "TaskUpdate", "TaskOutput", "TaskStop"),
)


async def cached_tools(
    binary: str, signature: str, store: Path, environ: Mapping[str, str]
) -> tuple[CliTool, ...]:
    """The tools of this binary, from the file `store` or found out anew; none if it doesn't say."""
    cache = BinaryCache(store)
    kept = _parse_cached(cache.load(signature))
    if kept is not None:
        return kept
    try:
        tools = await discover_tools(binary, environ.get("PATH", ""))
    except TurnError as error:
        log.warning("the claude CLI doesn't say which tools it has", problem=error.message)
        return ()
    cache.save(signature, [asdict(tool) for tool in tools])
    return tools


def _parse_cached(found: Any) -> tuple[CliTool, ...] | None:
    try:
        return tuple(CliTool(**tool) for tool in found)
    except TypeError:
        return None


async def discover_tools(binary: str, path: str) -> tuple[CliTool, ...]:
    """Ask it. Takes a second and no network. Raises TurnError."""
    async with sandbox(binary, path) as (table, api):
        launch = Launch(tools=CliTools(offered=_USEFUL_TOOLS, allowed=()), folder=str(table.cwd))
        runner = StepRunner(await table.start(launch))
        await runner.run([initialize("")], _TIMEOUT)
        await runner.run(conversation((), Message("user", ("Which tools?",))), _TIMEOUT)
        if not api.turns:
            raise CliFailed("Nothing reached the stand-in for the API.")
        return _cli_tools(api.last.body.get("tools") or ())


def _cli_tools(offered: Sequence[dict[str, object]]) -> tuple[CliTool, ...]:
    return tuple(
        CliTool(
            str(tool["name"]), str(tool.get("description", "")), json.dumps(tool.get("input_schema") or {})
        )
        for tool in offered
    )
