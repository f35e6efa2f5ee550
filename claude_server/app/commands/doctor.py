"""`doctor`: look at the CLI, without a server."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Any

from claude_server.app.engine import cli_engine
from claude_server.command_line import program
from claude_server.configuration import settings as config
from claude_server.configuration.arguments import add_options
from claude_server.configuration.loading import resolve
from claude_server.configuration.settings import VERSION, Settings
from claude_server.core.backend import EngineState
from claude_server.telemetry import logs

SUMMARY = "look at the installed CLI as the server would"
_OPTIONS = ("claude_bin", "engine", "state_dir", "setting_sources")


def main(argv: Sequence[str]) -> int:
    """The exit status: 0 if turns can succeed. Raises ConfigError."""
    parser = argparse.ArgumentParser(prog=f"{program()} doctor", description=SUMMARY)
    parser.add_argument("--json", action="store_true", help="as one JSON object, for programs")
    add_options(parser, iter(config.setting_fields()), _OPTIONS)
    options = vars(parser.parse_args(list(argv)))
    as_json = options.pop("json")
    settings = resolve(options).settings
    # "info": that the CLI is being tried out, which takes a while, is told.
    logs.configure("error" if as_json else "info", "console", None)
    state = asyncio.run(_look(settings))
    print(json.dumps(_facts(state), indent=2) if as_json else _text(state))
    return 0 if state.ready else 1


async def _look(settings: Settings) -> EngineState:
    engine = cli_engine(settings)
    try:
        await engine.start()
        return engine.state
    finally:
        await engine.close()


def _facts(state: EngineState) -> dict[str, Any]:
    """What `--json` prints. A null is what could not be found out."""
    return {
        "ready": state.ready,
        "version": VERSION,
        "cli_version": state.cli_version or None,
        "login": state.login_method or None,
        "engine": state.level,
        "abilities": dict(state.abilities),
        "problem": state.problem,
    }


def _text(state: EngineState) -> str:
    lines = [
        f"{'ok' if state.ready else 'NOT READY'}: claude CLI {state.cli_version or 'not found'}",
        f"login: {state.login_method or 'none'}",
        f"engine: {state.level}",
        *(f"  {'yes' if found else 'no ':3} {ability}" for ability, found in state.abilities.items()),
    ]
    return "\n".join([*lines, state.problem] if state.problem is not None else lines)
