"""Which tools of its own an installed CLI has: what it tells a stand-in for the API when all are on."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog

from claude_cli.argv import Launch
from claude_cli.control import conversation, initialize
from claude_cli.table import ProcessTable
from claude_cli.talk import Talk
from standin import StandIn
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
    kept = _kept(signature, store)
    if kept is not None:
        return kept
    try:
        tools = await learn(binary, environ.get("PATH", ""))
    except TurnError as error:
        log.warning("the claude CLI doesn't say which tools it has", problem=error.message)
        return ()
    _keep(signature, store, tools)
    return tools


def _kept(signature: str, store: Path) -> tuple[CliTool, ...] | None:
    try:
        return tuple(CliTool(**tool) for tool in json.loads(store.read_text())[signature])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(signature: str, store: Path, tools: Sequence[CliTool]) -> None:
    """A file that can't be written does no harm."""
    fresh = store.with_suffix(".new")
    with contextlib.suppress(OSError):
        fresh.write_text(json.dumps({signature: [asdict(tool) for tool in tools]}))
        fresh.chmod(0o600)
        fresh.replace(store)


async def learn(binary: str, path: str) -> tuple[CliTool, ...]:
    """Ask it. Takes a second and no network. Raises TurnError."""
    with tempfile.TemporaryDirectory(prefix="claude-api-") as folder, StandIn() as api:
        environ = {
            "PATH": path,
            "HOME": folder,
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "sk-ant-catalogue",
        }
        table = ProcessTable(binary, Path(folder) / "state", environ, "")
        try:
            process = await table.start(Launch(tools=CliTools(offered=_OF_USE, allowed=()), folder=folder))
            talk = Talk(process)
            await talk.run([initialize("")], _WITHIN)
            await talk.run(conversation((), Message("user", ("Which tools?",))), _WITHIN)
        finally:
            await table.close()
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
