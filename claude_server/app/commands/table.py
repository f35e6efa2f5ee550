"""The commands by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from claude_server.app.commands import check, doctor, keys


class Command(Protocol):
    """What a command's module has. `main` gets what comes after the name, and returns the exit status; it
    may raise ConfigError."""

    SUMMARY: str

    def main(self, argv: Sequence[str]) -> int: ...


COMMANDS: Mapping[str, Command] = {"check": check, "doctor": doctor, "keys": keys}


def listing() -> str:
    """The commands as `--help` shows them."""
    width = max(map(len, COMMANDS))
    return "\n".join(f"  {name:{width}}  {command.SUMMARY}" for name, command in COMMANDS.items())
