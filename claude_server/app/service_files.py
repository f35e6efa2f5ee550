"""What `install-service` writes: a user unit of systemd, or an agent of launchd. Pure."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_UNIT = """\
# Written by: claude-api install-service
[Unit]
Description=Claude for OpenAI clients (claude-api)
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=exec
WorkingDirectory={folder}
Environment=PATH={path}
# Settings and secrets, a NAME=value a line, with mode 0600.
EnvironmentFile=-{settings}
ExecStart={command}
# SIGTERM is for the server, which lets turns finish for DRAIN_TIMEOUT seconds (30). What is left is killed.
KillMode=mixed
TimeoutStopSec=45
Restart=on-failure
RestartSec=2
# A setting that can't be used doesn't become right by itself.
RestartPreventExitStatus=2
# A claude process that runs out of memory costs its turn, not the service.
OOMPolicy=continue

# What a user's manager can do without rights of its own.
NoNewPrivileges=true
UMask=0077
LockPersonality=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""
_LABEL = "claude-api"


@dataclass(frozen=True, slots=True)
class Service:
    """What is to be started: the program and its arguments, in `folder`; `path`: where it finds the CLI."""

    command: Sequence[str]
    path: Sequence[Path]
    folder: Path
    home: Path


def systemd_unit(service: Service, settings: Path) -> str:
    """The text of a user unit; `settings`: the file with the environment, which may be missing."""
    return _UNIT.format(
        path=_quoted(":".join(map(str, service.path))),
        folder=_escaped(str(service.folder)),
        settings=_escaped(str(settings)),
        command=" ".join(_quoted(word) for word in service.command),
    )


def launchd_agent(service: Service) -> str:
    """The text of an agent's property list."""
    agent = {
        "Label": _LABEL,
        "ProgramArguments": list(service.command),
        "EnvironmentVariables": {"PATH": ":".join(map(str, service.path))},
        "WorkingDirectory": str(service.folder),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": 45,
        "StandardErrorPath": str(service.home / "Library" / "Logs" / "claude-api.log"),
        "StandardOutPath": str(service.home / "Library" / "Logs" / "claude-api.log"),
    }
    return plistlib.dumps(agent).decode()


def _escaped(word: str) -> str:
    # systemd expands %h and the like.
    return word.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of a unit's line, as systemd.syntax(7) wants it quoted; `$` would name a variable."""
    safe = _escaped(word).replace("$", "$$")
    if not any(character in safe for character in " \t\"'\\;"):
        return safe
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'
