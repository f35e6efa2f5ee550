"""Every setting of the server in one frozen object. The only module that reads the environment.

Order: command line, then environment, then `.env`, then the default. `load()` raises `ConfigError` with a
sentence for the person at the terminal.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

VERSION = "0.1.0"
SERVICE = "claude-api"

# What of our own environment a `claude` process may see. All else (tokens of other tools, shell settings,
# the CLAUDECODE of a surrounding session) stays out.
_CHILD_NAMES = frozenset(
    {
        *("HOME", "PATH", "LANG", "TZ", "USER", "TMPDIR", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN"),
        *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    }
)
_CHILD_PREFIXES = ("LC_", "ANTHROPIC_")
# A provider's own names go along only when that provider is chosen.
_PROVIDERS = {
    "CLAUDE_CODE_USE_BEDROCK": ("CLAUDE_CODE_USE_BEDROCK", "AWS_"),
    "CLAUDE_CODE_USE_VERTEX": ("CLAUDE_CODE_USE_VERTEX", "CLOUD_ML_REGION", "GOOGLE_", "VERTEX_"),
}
_TRUE = frozenset({"1", "true", "yes", "on"})


class ConfigError(Exception):
    """A setting that can't be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Env:
    """The environment names of a setting (the first is ours and wins) and its command-line flag."""

    names: tuple[str, ...]
    flag: str | None = None

    @property
    def option(self) -> str:
        return self.flag or "--" + self.names[0].lower().removeprefix("claude_").replace("_", "-")


def _env(*names: str, flag: str | None = None) -> Env:
    return Env(names, flag)


class Settings(BaseModel):
    """All settings; units in the descriptions, which are also the text of `--help` and docs/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, _env("CLAUDE_API_HOST", "CLAUDE_WRAPPER_HOST", flag="--host")] = Field(
        "127.0.0.1", description="loopback address to listen on"
    )
    port: Annotated[int, _env("CLAUDE_API_PORT", "PORT", flag="--port")] = Field(
        8765, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    claude_bin: Annotated[str, _env("CLAUDE_BIN", "CLAUDE_CLI_PATH")] = Field(
        "claude", min_length=1, description="the claude binary: a name on PATH, or a path"
    )
    max_request_size: Annotated[int, _env("MAX_REQUEST_SIZE")] = Field(
        20 * 1024 * 1024, ge=1024, description="largest request body, bytes; a larger one gets a 413"
    )
    default_model: Annotated[str | None, _env("CLAUDE_DEFAULT_MODEL", "DEFAULT_MODEL")] = Field(
        None, description="model for requests that name none (default, auto, claude, claude-cli, empty)"
    )
    max_concurrency: Annotated[int, _env("CLAUDE_MAX_CONCURRENCY")] = Field(
        4, ge=1, le=256, description="turns at a time"
    )
    max_queue: Annotated[int, _env("CLAUDE_MAX_QUEUE")] = Field(
        64, ge=0, description="requests that may wait for a turn or a busy session; one more gets a 429"
    )
    queue_timeout: Annotated[float, _env("CLAUDE_QUEUE_TIMEOUT")] = Field(
        60, gt=0, description="longest wait in that queue, seconds"
    )
    timeout: Annotated[float, _env("CLAUDE_TIMEOUT", "MAX_TIMEOUT")] = Field(
        300, gt=0, description="longest attempt at a turn, seconds (MAX_TIMEOUT: milliseconds)"
    )
    first_event_timeout: Annotated[float, _env("CLAUDE_FIRST_EVENT_TIMEOUT")] = Field(
        60, gt=0, description="longest wait for an attempt's first event, seconds"
    )
    idle_timeout: Annotated[float, _env("CLAUDE_IDLE_TIMEOUT")] = Field(
        120, gt=0, description="longest silence inside an attempt, seconds"
    )
    max_retries: Annotated[int, _env("CLAUDE_MAX_RETRIES")] = Field(
        5, ge=0, le=100, description="retries after the first try"
    )
    base_backoff: Annotated[float, _env("CLAUDE_BASE_BACKOFF")] = Field(
        2.0, ge=0, description="retry n waits base * 2^(n-1) seconds, at most 60; jitter shortens only"
    )
    stream_mode: Annotated[Literal["live", "buffered"], _env("CLAUDE_STREAM_MODE")] = Field(
        "live", description="live: tokens as they come; buffered: the whole reply, then in chunks"
    )
    chunk_chars: Annotated[int, _env("CLAUDE_CHUNK_CHARS")] = Field(
        48, ge=1, description="characters a chunk in buffered mode"
    )
    engine: Annotated[Literal["auto", "warm", "keyed", "spawn", "text", "plain"], _env("CLAUDE_ENGINE")] = (
        Field("auto", description="how the CLI is used; auto takes the best that the installed one can do")
    )
    state_dir: Annotated[Path, _env("CLAUDE_STATE_DIR")] = Field(
        default_factory=lambda: user_state_path(SERVICE),
        description="folder for session records and the CLI's work folder; made with mode 0700",
    )
    share_workers: Annotated[Literal["key", "any", "never"], _env("CLAUDE_SHARE_WORKERS")] = Field(
        "key", description="who may share a process: requests with one API key, any, or never two requests"
    )
    kept_sessions: Annotated[int, _env("CLAUDE_KEPT_SESSIONS")] = Field(
        4, ge=0, description="idle sessions whose process is kept for the next turn"
    )
    worker_turns: Annotated[int, _env("CLAUDE_WORKER_TURNS")] = Field(
        1000, ge=1, description="turns after which a process is replaced"
    )
    worker_age: Annotated[float, _env("CLAUDE_WORKER_AGE")] = Field(
        3600, gt=0, description="age after which a process is replaced, seconds"
    )
    worker_idle: Annotated[float, _env("CLAUDE_WORKER_IDLE")] = Field(
        300, gt=0, description="idle time after which all processes but one are ended, seconds"
    )
    worker_memory: Annotated[int, _env("CLAUDE_WORKER_MEMORY")] = Field(
        400, ge=1, description="memory beyond which a process is replaced, MiB"
    )
    setting_sources: Annotated[Literal["", "user"], _env("CLAUDE_SETTING_SOURCES")] = Field(
        "", description="'user' lets the CLI's own user settings in (apiKeyHelper, env); empty: none"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _env("LOG_LEVEL", "DEBUG_MODE", "VERBOSE")
    ] = Field("info", description="lowest level that is logged (DEBUG_MODE or VERBOSE: debug)")
    log_format: Annotated[Literal["console", "json"], _env("LOG_FORMAT")] = Field(
        "console", description="how a log line looks"
    )
    log_file: Annotated[Path | None, _env("LOG_FILE")] = Field(
        None, description="file to log to, instead of standard error"
    )
    child_env: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if host == "localhost":
            return "127.0.0.1"
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(
                "only a loopback address (127.0.0.1, ::1) is allowed: whoever reaches this server "
                "spends your account. To share it, put a reverse proxy that asks for a token in front"
            )
        return host

    @field_validator("state_dir", "log_file")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        return path and path.expanduser()

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


@dataclass(frozen=True)
class Loaded:
    """Settings, notes for the person at the terminal, if the port was pinned, if `doctor` was asked for."""

    settings: Settings
    notes: tuple[str, ...]
    port_pinned: bool
    doctor: bool = False


def described() -> Iterator[tuple[str, Env, FieldInfo]]:
    """(field name, its names, field) of every setting that a person can set, in order."""
    for name, field in Settings.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Env):
                yield name, mark, field


def default_text(name: str, field: FieldInfo) -> str:
    """The default as a person reads it."""
    if name == "state_dir":
        return "the user's state folder"
    if field.default is None or field.default == "":
        return "none"
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)


def parser() -> argparse.ArgumentParser:
    """The command line: one flag a setting, `--version`, and the port as the one argument."""
    result = argparse.ArgumentParser(
        prog="claude_api.py",
        description="Use Claude from any OpenAI client, through the claude CLI that you are logged into.",
        epilog="Order: command line, environment, .env in the current folder, default.",
    )
    result.add_argument("--version", action="version", version=f"{SERVICE} {VERSION}")
    result.add_argument(
        "port_argument",
        metavar="PORT",
        nargs="?",
        help="the same as --port; 'doctor' looks at the CLI instead",
    )
    for name, env, field in described():
        text = f"{field.description} (default: {default_text(name, field)}; {', '.join(env.names)})"
        result.add_argument(
            env.option, dest=name, metavar=name.upper(), default=None, help=text.replace("%", "%%")
        )
    return result


def load(
    argv: Sequence[str] = (), environ: Mapping[str, str] | None = None, dotenv: Path | None = None
) -> Loaded:
    """Settings from the command line, the environment and `.env`.

    Raises ConfigError naming the setting and where its value came from.
    """
    arguments = vars(parser().parse_args(list(argv)))
    port_argument = arguments.pop("port_argument")
    doctor = port_argument == "doctor"
    if port_argument is not None and not doctor and not port_argument.isdigit():
        raise ConfigError(f"'{port_argument}' is neither a port nor 'doctor'. See --help.")
    if port_argument is not None and not doctor and arguments["port"] is None:
        arguments["port"] = port_argument
    process = os.environ if environ is None else environ
    file = {k: v for k, v in dotenv_values(dotenv or Path(".env")).items() if v is not None}
    notes: list[str] = []
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, env, _field in described():
        if arguments[name] is not None:
            values[name], origin[name] = arguments[name], env.option
            continue
        for source, place in ((process, ""), (file, " in .env")):
            found = {key: _converted(name, key, source[key], notes) for key in env.names if source.get(key)}
            found = {key: value for key, value in found.items() if value is not None}
            if found:
                chosen = next(iter(found))
                values[name], origin[name] = found[chosen], chosen + place
                notes += [
                    f"{chosen} and {key} differ; {chosen} is used"
                    for key, value in found.items()
                    if value != found[chosen]
                ]
                break
    values["child_env"] = child_environment({**file, **process})
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentences(error, origin, values))) from None
    pinned = origin.get("port") in ("--port", "CLAUDE_API_PORT", "CLAUDE_API_PORT in .env")
    return Loaded(settings, tuple(notes), pinned, doctor)


def _converted(name: str, key: str, value: str, notes: list[str]) -> str | None:
    """A value given under one of the older names, in the unit of ours; None where it says nothing."""
    if key in ("DEBUG_MODE", "VERBOSE"):
        return "debug" if value.strip().lower() in _TRUE else None
    if key == "MAX_TIMEOUT":
        try:
            number = float(value)
        except ValueError:
            return value
        seconds = number if number < 1000 else number / 1000
        notes.append(f"MAX_TIMEOUT={value} is read as {seconds:g} seconds")
        return f"{seconds:g}"
    return value.lower() if name == "log_level" else value


def _sentences(error: ValidationError, origin: Mapping[str, str], values: Mapping[str, Any]) -> Iterator[str]:
    for item in error.errors():
        name = str(item["loc"][0])
        message = item["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        yield f"{origin.get(name, name)}={values.get(name)}: {message}."


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that a claude process may see."""
    prefixes: tuple[str, ...] = _CHILD_PREFIXES
    for switch, names in _PROVIDERS.items():
        if environ.get(switch, "").strip().lower() in _TRUE:
            prefixes += names
    return {k: v for k, v in environ.items() if k in _CHILD_NAMES or k.startswith(prefixes)}


def env_example() -> str:
    """The text of `.env.example`: every setting with its default, as a comment."""
    lines = ["# Copy to .env and uncomment what you change. Made by `make env-example`.", ""]
    for name, env, field in described():
        also = f" Also read as: {', '.join(env.names[1:])}." if env.names[1:] else ""
        default = default_text(name, field)
        value = "" if default in ("none", "the user's state folder") else default
        lines += [f"# {field.description}.{also}", f"#{env.names[0]}={value}", ""]
    return "\n".join(lines)
