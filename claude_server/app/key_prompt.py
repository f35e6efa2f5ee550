"""The question whether the server is to be protected by a key, for a person at a terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from claude_server.app.guards import key_ring, lacks_key
from claude_server.command_line import command
from claude_server.configuration.settings import ConfigError, Settings
from claude_server.http.guard.keyfile import KeyFile, KeyFileFailed, NameTaken
from claude_server.http.guard.keys import KeyLimits

NAME = "terminal"


def prompt_for_key(settings: Settings) -> None:
    """Ask if no key is set and somebody is there to answer; make one if they want it.

    Raises ConfigError, and KeyboardInterrupt.
    """
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)) or key_ring(settings).required:
        return
    if lacks_key(settings):
        print("No API key is set. Some of these settings hold only with one.")
    else:
        print("No API key is set: every program on this machine can use this server.")
    try:
        answer = input("Protect it with a key? (y/N): ")
    except EOFError:
        print()
        return
    if answer.strip().lower() not in ("y", "yes"):
        return
    try:
        token = KeyFile(settings.state_dir).add(NAME, KeyLimits())
    except KeyFileFailed as error:
        raise ConfigError(str(error)) from None
    except NameTaken:
        # Somebody else made it while we waited for the answer.
        return
    print(f"\n  {token}\n")
    print(f"This is the key '{NAME}', shown this once. Clients send it as api_key.")
    print(f"Without it again: {command(f'keys revoke {NAME}')}, and start the server again.\n", flush=True)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
