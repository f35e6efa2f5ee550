"""`keys add|list|revoke`: who may use the server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from claude_server.app.guards import lacks_key
from claude_server.app.listen import make_state_folder
from claude_server.command_line import command, program
from claude_server.configuration import settings as config
from claude_server.configuration.arguments import add_options
from claude_server.configuration.loading import resolve
from claude_server.configuration.settings import ConfigError
from claude_server.configuration.values import listed
from claude_server.http.guard.keyfile import KeyFile, KeyFileFailed, NameTaken, NoSuchKey
from claude_server.http.guard.keys import Key, KeyLimits

SUMMARY = "add, list and revoke API keys; a running server notices"


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises ConfigError."""
    given = vars(_parser().parse_args(list(argv)))
    settings = resolve(given).settings
    make_state_folder(settings)
    file = KeyFile(settings.state_dir)
    try:
        if given["action"] == "add":
            if not given["if_needed"] or lacks_key(settings):
                _add(file, given)
        elif given["action"] == "revoke":
            _revoke(file, given["name"])
        else:
            print(listing(file.load()))
    except KeyFileFailed as error:
        raise ConfigError(str(error)) from None
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"{program()} keys", description=SUMMARY)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a key and show it, once")
    add.add_argument("name", metavar="NAME", help="what the log and 'keys list' call it")
    add.add_argument("--rate", type=int, metavar="N", help="requests a minute (default: no limit)")
    add.add_argument("--concurrency", type=int, metavar="N", help="requests at a time (default: no limit)")
    add.add_argument("--models", type=listed, metavar="A,B", help="models that it may name (default: any)")
    add.add_argument(
        "--if-needed", action="store_true", help="only where the server would refuse to start without one"
    )
    add.add_argument("--operator", action="store_true", help="it may name MCP servers, which run commands")
    revoke = actions.add_parser("revoke", help="take a key away; it no longer works")
    revoke.add_argument("name", metavar="NAME")
    for action in (add, actions.add_parser("list", help="show the keys' names and limits"), revoke):
        add_options(action, iter(config.setting_fields()), ("state_dir",))
    return parser


def _add(file: KeyFile, given: Mapping[str, Any]) -> None:
    name = given["name"]
    first = not file.load()
    try:
        limits = KeyLimits(rate=given["rate"], concurrency=given["concurrency"], models=given["models"])
        token = file.add(name, limits, operator=given["operator"])
    except NameTaken:
        raise ConfigError(f"There is a key '{name}' already: revoke it first, or choose a name.") from None
    except ValidationError as error:
        raise ConfigError(_wrong(error, name)) from None
    # The key alone goes to standard output, so that a script can take it.
    print(f"The key '{name}', shown this once. Clients send it as api_key.", file=sys.stderr)
    if first:
        print("From now on a running server refuses requests without a key.", file=sys.stderr)
    print(token)


def _wrong(error: ValidationError, name: str) -> str:
    place = str(error.errors()[0]["loc"][0])
    if place == "name":
        return f"'{name}' can't be a key's name: 1 to 64 letters, digits and . _ @ - (not first)."
    if place == "models":
        return "--models needs at least one name, like --models sonnet,haiku."
    return f"--{place} needs a number from 1 on."


def _revoke(file: KeyFile, name: str) -> None:
    try:
        left = file.revoke(name)
    except NoSuchKey:
        raise ConfigError(f"There is no key '{name}'. See: {command('keys list')}") from None
    print(f"The key '{name}' no longer works.")
    if left == 0:
        print(
            "No key is left. A running server now refuses everybody; one that is started without a key "
            "serves this machine only, and asks for none."
        )


def listing(present: Sequence[Key]) -> str:
    """The keys as a table, without the keys."""
    if not present:
        return f"There are no keys. Add one with: {command('keys add NAME')}"
    rows = [("NAME", "ADDED", "A MINUTE", "AT A TIME", "MODELS", "OPERATOR")]
    for key in present:
        added = "" if key.created_at is None else f"{datetime.fromtimestamp(key.created_at):%Y-%m-%d %H:%M}"
        limits = key.limits
        rows.append(
            (
                key.name,
                added,
                "any" if limits.rate is None else str(limits.rate),
                "any" if limits.concurrency is None else str(limits.concurrency),
                "any" if limits.models is None else ", ".join(limits.models),
                "yes" if key.operator else "no",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
