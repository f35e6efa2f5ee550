"""What an installed CLI can't be told. Pure."""

from __future__ import annotations

from claude_cli.state import Abilities, Level, Need
from turns.errors import TurnError, UnsupportedParameter
from turns.model import AttemptRequest

# Levels that use nothing that a CLI may lack.
UNTESTED = frozenset({"spawn", "text", "plain"})
_PLAIN_LACKS = (
    "At the engine level 'plain' only text can be sent: no tools, schemas, images or files. Install a newer "
    "claude CLI, or set CLAUDE_ENGINE=auto."
)
_LACKS = "The installed claude CLI can't do {} ({}). Install a newer one."


def lacking(
    request: AttemptRequest, need: Need, level: Level, abilities: Abilities, *, runs_tools: bool
) -> TurnError | None:
    """Why the installed CLI can't be told this request, or None. `runs_tools`: it has tools of its own."""
    if request.turn.cli_tools is not None and not runs_tools:
        return UnsupportedParameter(_LACKS.format("run tools", "enable_tools"), param="enable_tools")
    if level == "plain":
        messages = (*request.history, request.turn.question)
        if need.tools or not all(isinstance(b, str) for m in messages for b in m.blocks):
            return UnsupportedParameter(_PLAIN_LACKS)
    tested = level not in UNTESTED
    if tested and need.tools and not abilities.tools:
        return UnsupportedParameter(_LACKS.format("function calling", "tools"), param="tools")
    if tested and need.body and not abilities.extra_body:
        return UnsupportedParameter(_LACKS.format("this", "tool_choice, stop, temperature or top_p"))
    return None
