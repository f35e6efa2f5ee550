"""The settings of the server.

This is a face: the room is claude_server/configuration/settings.py.
"""

from __future__ import annotations

from claude_server.configuration.settings import (
    SERVICE,
    VERSION,
    ConfigError,
    Loaded,
    Settings,
    env_example,
    load,
    resolve,
    setting_fields,
)

__all__ = [
    "SERVICE",
    "VERSION",
    "ConfigError",
    "Loaded",
    "Settings",
    "env_example",
    "load",
    "resolve",
    "setting_fields",
]
