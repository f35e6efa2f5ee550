"""What stands before the routes, as the settings want it, and whether a server may start with that."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import structlog
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from claude_server.command_line import command
from claude_server.configuration.settings import ConfigError, Settings
from claude_server.http.guard.authenticate import ApiKeyMiddleware
from claude_server.http.guard.content import JsonOnlyMiddleware
from claude_server.http.guard.keyfile import KeyFile, KeyFileFailed
from claude_server.http.guard.keys import from_settings
from claude_server.http.guard.origin import ANY_ORIGIN, EXPOSED, OriginMiddleware, origin_pattern
from claude_server.http.guard.rate_limit import RateLimitMiddleware
from claude_server.http.guard.ring import KeyRing
from claude_server.http.guard.window import FixedWindow, StorageMissing

log = structlog.get_logger("start")


@dataclass(frozen=True, slots=True)
class Guards:
    """What the guards look at. `window` is to be closed in the end."""

    ring: KeyRing
    window: FixedWindow


def build_guards(settings: Settings) -> Guards:
    """Made anew for each application.

    Raises ConfigError where the server would be open to more than this machine without a key, or lacks what
    it needs.
    """
    url = settings.rate_limit_storage_url
    try:
        window = FixedWindow(url.get_secret_value() if url else None)
    except StorageMissing:
        raise ConfigError("RATE_LIMIT_STORAGE_URL needs a library: pip install redis") from None
    ring = key_ring(settings)
    if _is_open(settings) and not ring.required:
        raise ConfigError(
            f"CLAUDE_API_HOST={settings.host} is no loopback address: whoever reaches it would spend your "
            f"account. Add a key first ({command('keys add NAME')}), or set API_KEY; or listen on 127.0.0.1."
        )
    return Guards(ring, window)


def install_guards(app: FastAPI, made: Guards, settings: Settings) -> None:
    """Put them before the routes of `app`. The one added last sees a request first.

    Rates are counted before keys are looked at, so that guessing a key has its limit too; both come after
    CORS, so that a page can read how it was refused.
    """
    app.add_middleware(JsonOnlyMiddleware)
    app.add_middleware(ApiKeyMiddleware, ring=made.ring, window=made.window)
    limits = settings.rate_limits
    if limits is not None:
        trusted = [ipaddress.ip_network(text) for text in settings.trusted_proxies]
        app.add_middleware(RateLimitMiddleware, window=made.window, limits=limits, trusted=trusted)
    origins = settings.cors_origins
    if ANY_ORIGIN in origins and not made.ring.required:
        # Every web page that somebody visits could spend the account.
        log.warning(
            f"CORS_ORIGINS=* has no effect without a key: {command('keys add NAME')}, and start again"
        )
        origins = tuple(name for name in origins if name != ANY_ORIGIN)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_origin_regex=origin_pattern(origins),
            allow_methods=("*",),
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=EXPOSED,
        )
    app.add_middleware(OriginMiddleware, ring=made.ring, allowed=origins)


def key_ring(settings: Settings) -> KeyRing:
    """The keys that the settings and the state folder hold. Raises ConfigError for a file that is broken."""
    fixed = [
        # API_KEY is the operator's own; API_KEYS are for others.
        from_settings(name, key.get_secret_value(), operator=name == "API_KEY")
        for name, key in settings.chosen_keys.items()
    ]
    file = KeyFile(settings.state_dir)
    try:
        file.load()
    except KeyFileFailed as error:
        raise ConfigError(str(error)) from None
    return KeyRing(fixed, file)


def lacks_key(settings: Settings) -> bool:
    """Do the settings say what holds only with a key, and is there none?

    Raises ConfigError for a file that is broken.
    """
    wanted = _is_open(settings) or ANY_ORIGIN in settings.cors_origins
    return wanted and not key_ring(settings).required


def _is_open(settings: Settings) -> bool:
    """Will others than this machine reach it?"""
    return not ipaddress.ip_address(settings.host).is_loopback
