"""What an installed CLI can't be told. Pure."""

from __future__ import annotations

from claude_server.core.errors import TurnError, UnsupportedParameter
from claude_server.core.model import AttemptRequest
from claude_server.engine.workers.state import Abilities, Level, WorkerConfig

# Levels that use nothing that a CLI may lack.
UNTESTED_LEVELS = frozenset({"spawn", "text", "plain"})
# What is relied on there all the same: the oldest CLI that we take has it.
UNTESTED = Abilities(tools_in_body=True)
NO_LONG_CACHE = (
    "'prompt_cache_retention' 24h may have no effect: this claude CLI is not known to keep the cache"
)
_PLAIN_UNSUPPORTED = (
    "At the engine level 'plain' only text can be sent: no tools, schemas, images or files. Install a newer "
    "claude CLI, or set CLAUDE_ENGINE=auto."
)
_UNSUPPORTED = "The installed claude CLI can't do {} ({}). Install a newer one."


def unsupported(
    request: AttemptRequest, config: WorkerConfig, level: Level, abilities: Abilities, *, runs_tools: bool
) -> TurnError | None:
    """Why the installed CLI can't be told this request, or None. `runs_tools`: it has tools of its own."""
    if request.turn.cli_tools is not None and not runs_tools:
        return UnsupportedParameter(_UNSUPPORTED.format("run tools", "enable_tools"), param="enable_tools")
    if level == "plain":
        messages = (*request.history, request.turn.question)
        if config.tools or not all(isinstance(b, str) for m in messages for b in m.blocks):
            return UnsupportedParameter(_PLAIN_UNSUPPORTED)
    tested = level not in UNTESTED_LEVELS
    if tested and config.tools and not (abilities.tools or abilities.tools_in_body):
        return UnsupportedParameter(_UNSUPPORTED.format("function calling", "tools"), param="tools")
    if tested and config.body and not abilities.extra_body:
        return UnsupportedParameter(
            _UNSUPPORTED.format("this", "tool_choice, stop, temperature, top_p or service_tier")
        )
    return None
