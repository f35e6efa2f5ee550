"""The keys of a server that starts, and whether it may start with them."""

from __future__ import annotations

import ipaddress

from config import ConfigError, Settings
from guard.keyfile import KeyFile, KeyFileFailed
from guard.keys import from_settings
from guard.origin import ANY_ORIGIN
from guard.ring import KeyRing

_ADD = "python claude_api.py keys add NAME"


def key_ring(settings: Settings) -> KeyRing:
    """The keys that the settings and the state folder hold.

    Raises ConfigError where the server would be open to more than this machine without one.
    """
    tokens = {"API_KEY": settings.api_key} if settings.api_key else {}
    tokens |= {f"API_KEYS.{number}": token for number, token in enumerate(settings.api_keys, 1)}
    fixed = [from_settings(name, token.get_secret_value()) for name, token in tokens.items()]
    file = KeyFile(settings.state_dir)
    try:
        file.load()
    except KeyFileFailed as error:
        raise ConfigError(str(error)) from None
    ring = KeyRing(fixed, file)
    if not ring.required:
        _stay_at_home(settings)
    return ring


def _stay_at_home(settings: Settings) -> None:
    if not ipaddress.ip_address(settings.host).is_loopback:
        raise ConfigError(
            f"CLAUDE_API_HOST={settings.host} is no loopback address: whoever reaches it would spend your "
            f"account. Add a key first ({_ADD}), or set API_KEY; or listen on 127.0.0.1."
        )
    if ANY_ORIGIN in settings.cors_origins:
        raise ConfigError(
            "CORS_ORIGINS=* would let every web page that you visit spend your account. Add a key first "
            f"({_ADD}), or set API_KEY; or name the pages' origins, like http://localhost:3000."
        )
