"""The commands by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from claude_server.app.commands import check, doctor, install_service, keys


class Command(Protocol):
    """What a command's module has. `main` gets what comes after the name, and returns the exit status; it
    may raise ConfigError."""

    SUMMARY: str

    def main(self, argv: Sequence[str]) -> int: ...


COMMANDS: Mapping[str, Command] = {
    "check": check,
    "doctor": doctor,
    "keys": keys,
    "install-service": install_service,
}


def listing() -> str:
    """The commands as `--help` shows them."""
    rows = {"serve": "start the server, as no command does too"}
    rows |= {name: command.SUMMARY for name, command in COMMANDS.items()}
    width = max(map(len, rows))
    return "\n".join(f"  {name:{width}}  {summary}" for name, summary in rows.items())
