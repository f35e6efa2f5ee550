"""Settings as a person set them. The only module that reads the environment.

Order: command line, then environment, then `.env`, then the default. `load()` raises `ConfigError` with a
sentence for the person at the terminal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from claude_server.configuration import arguments, sources
from claude_server.configuration.child import child_environment
from claude_server.configuration.login import detect_login
from claude_server.configuration.settings import (
    RATE_KINDS,
    SERVICE,
    VERSION,
    ConfigError,
    Settings,
    setting_fields,
)

_LONG_ENOUGH = 16


@dataclass(frozen=True)
class Loaded:
    """Settings, notes for the person at the terminal, if the port was pinned, if `--reload` was given, and
    if that person may be asked something."""

    settings: Settings
    notes: tuple[str, ...]
    port_pinned: bool
    reload: bool = False
    may_ask: bool = True


def load(
    argv: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
    *,
    commands: str = "",
) -> Loaded:
    """Settings from the server's command line, the environment and `.env`.

    `commands` is for `--help`. Raises ConfigError naming the setting and where its value came from.
    """
    parser = arguments.server_parser(setting_fields(), SERVICE, VERSION, commands)
    options = vars(parser.parse_args(list(argv)))
    port = options.pop("port_argument")
    if port is not None and not port.isdigit():
        raise ConfigError(f"'{port}' is neither a port, nor a command that comes first. See --help.")
    if port is not None and options["port"] is None:
        options["port"] = port
    return resolve(options, environ, dotenv)


def _logged_in(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with what a claude process is to see. Raises ValueError."""
    found = detect_login(environ, settings.auth_method, settings.use_subscription, Path.is_file)
    return settings.model_copy(update={"login": found, "child_env": child_environment(environ, found.method)})


def _read(file: Path) -> dict[str, str]:
    """What a `.env` says; nothing where there is none. Raises ConfigError."""
    try:
        return {key: value for key, value in dotenv_values(file).items() if value is not None}
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} can't be read: it is not UTF-8 (byte {error.start + 1}).") from None


def resolve(
    options: Mapping[str, Any], environ: Mapping[str, str] | None = None, dotenv: Path | None = None
) -> Loaded:
    """Settings from a command line that is parsed already (field name to value), the environment and `.env`.

    Raises ConfigError.
    """
    process = os.environ if environ is None else environ
    file = _read(dotenv or Path(".env"))
    chosen = sources.resolve_values(iter(setting_fields()), options, ((process, ""), (file, " in .env")))
    if any(f"rate_limit_{kind}" in chosen.values for kind in RATE_KINDS):
        # Who sets a number wants it to hold, unless the switch is set too.
        chosen.values.setdefault("rate_limit_enabled", True)
    try:
        settings = Settings(**chosen.values)
        settings = _logged_in(settings, {**file, **process})
    except ValidationError as error:
        raise ConfigError("\n".join(sources.error_messages(error, chosen, iter(setting_fields())))) from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    chosen.notes.extend((*settings.login.notes, *settings.login.missing))
    if settings.work_dir is not None and not settings.allow_tools:
        chosen.notes.append("CLAUDE_CWD has no effect without CLAUDE_ALLOW_TOOLS: no tool works in it")
    if any(len(key.get_secret_value()) < _LONG_ENOUGH for key in settings.chosen_keys.values()):
        chosen.notes.append(
            f"a key of less than {_LONG_ENOUGH} characters in API_KEY or API_KEYS can be guessed"
        )
    pinned = chosen.origin.get("port") in ("--port", "CLAUDE_API_PORT", "CLAUDE_API_PORT in .env")
    reload = bool(options.get("reload"))
    # Make and the supervisor of --reload have the terminal, but nobody waits there for a question.
    may_ask = not (reload or options.get("no_prompt") or process.get("MAKELEVEL"))
    return Loaded(settings, tuple(chosen.notes), pinned, reload, may_ask)
