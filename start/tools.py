"""What the operator allows of the CLI's own tools, and whether a server may start with that."""

from __future__ import annotations

import os
from pathlib import Path

from config import ConfigError, Settings


def work_folder(settings: Settings) -> Path | None:
    """Where the CLI's own tools work, without links in its name; None where they aren't allowed.

    Raises ConfigError where they are, and can't.
    """
    if not settings.allow_tools:
        return None
    if settings.work_dir is None:
        raise ConfigError(
            "CLAUDE_ALLOW_TOOLS needs CLAUDE_CWD: the folder that the tools work in. Name one that holds "
            "nothing but what they may read and change."
        )
    if not settings.work_dir.is_dir():
        raise ConfigError(f"CLAUDE_CWD={settings.work_dir} is no folder: make it first.")
    if settings.allow_bypass and os.geteuid() == 0:
        raise ConfigError(
            "CLAUDE_ALLOW_BYPASS can't be used as root: the claude CLI refuses to. Run the server as another "
            "user."
        )
    folder = settings.work_dir.resolve()
    if folder.is_relative_to(settings.state_dir.resolve()):
        raise ConfigError(
            f"CLAUDE_CWD={folder} lies in the state folder, beside keys and sessions: choose another one."
        )
    return folder
