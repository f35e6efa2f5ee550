"""What the operator allows of the CLI's own tools, and whether a server may start with that."""

from __future__ import annotations

import os
from pathlib import Path

from claude_server.configuration.settings import ConfigError, Settings
from claude_server.engine.processes.transcripts import config_dir
from claude_server.toolbox.servers import McpServerConfig, parse_servers


def mcp_servers(settings: Settings) -> tuple[McpServerConfig, ...]:
    """The MCP servers of the operator's file. Raises ConfigError."""
    file = settings.mcp_config
    if (file or settings.allow_mcp) and not settings.allow_tools:
        name = "CLAUDE_MCP_CONFIG" if file else "CLAUDE_ALLOW_MCP"
        raise ConfigError(f"{name} has no effect without CLAUDE_ALLOW_TOOLS: set both, or none.")
    if file is None:
        return ()
    try:
        return parse_servers(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"CLAUDE_MCP_CONFIG={file} can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"CLAUDE_MCP_CONFIG={file} can't be used: {error}.") from None


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
    own = config_dir(settings.child_env).resolve()
    if folder.is_relative_to(own):
        raise ConfigError(
            f"CLAUDE_CWD={folder} lies in the claude CLI's own folder, which is closed to tools: choose "
            "another one."
        )
    return folder
