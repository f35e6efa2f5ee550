"""`doctor`: look at the CLI, without a server."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from claude_server.app.engine import cli_engine
from claude_server.configuration import settings as config
from claude_server.configuration.arguments import add_options
from claude_server.configuration.settings import Settings
from claude_server.telemetry import logs

SUMMARY = "look at the installed CLI as the server would, and say what it can do"
_OPTIONS = ("claude_bin", "engine", "state_dir", "setting_sources")


def main(argv: Sequence[str]) -> int:
    """The exit status: 0 if turns can succeed. Raises ConfigError."""
    parser = argparse.ArgumentParser(prog="claude_api.py doctor", description=SUMMARY)
    add_options(parser, iter(config.setting_fields()), _OPTIONS)
    settings = config.resolve(vars(parser.parse_args(list(argv)))).settings
    # "info": that the CLI is being tried out, which takes a while, is told.
    logs.configure("info", "console", None)
    return asyncio.run(_look(settings))


async def _look(settings: Settings) -> int:
    engine = cli_engine(settings)
    try:
        await engine.start()
        state = engine.state
    finally:
        await engine.close()
    print(f"{'ok' if state.ready else 'NOT READY'}: claude CLI {state.cli_version or 'not found'}")
    print(f"login: {state.login_method or 'none'}")
    print(f"engine: {state.level}")
    for ability, found in state.abilities.items():
        print(f"  {'yes' if found else 'no ':3} {ability}")
    if state.problem is not None:
        print(state.problem)
    return 0 if state.ready else 1
