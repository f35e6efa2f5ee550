"""The settings of the server.

This is a face: the rooms are claude_server/configuration/settings.py and loading.py.
"""

from __future__ import annotations

from claude_server.configuration.loading import Loaded, load, resolve
from claude_server.configuration.settings import (
    SERVICE,
    VERSION,
    ConfigError,
    Settings,
    env_example,
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
