"""Every setting of the server in one frozen object; `loading` reads them from where people set them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from claude_server.configuration import fields, sources, values
from claude_server.configuration.fields import SettingField, env
from claude_server.configuration.login import Choice, Login

VERSION = "0.1.0"
SERVICE = "claude-api"
RATE_KINDS = ("chat", "debug", "auth", "health", "session", "general")


class ConfigError(Exception):
    """A setting that can't be used; the message says which, why, and what to do."""


class Settings(BaseModel):
    """All settings; units in the descriptions, which are also the text of `--help` and docs/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, env("CLAUDE_API_HOST", "CLAUDE_WRAPPER_HOST", flag="--host")] = Field(
        "127.0.0.1", description="address to listen on; one that other machines reach needs a key"
    )
    port: Annotated[int, env("CLAUDE_API_PORT", "PORT", flag="--port")] = Field(
        8765, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    api_key: Annotated[SecretStr | None, env("API_KEY", secret=True)] = Field(
        None, min_length=1, description="key that clients must send; `keys add` makes better ones"
    )
    api_keys: Annotated[tuple[SecretStr, ...], env("API_KEYS", secret=True)] = Field(
        (), description="more such keys, with commas between them"
    )
    cors_origins: Annotated[tuple[str, ...], env("CORS_ORIGINS")] = Field(
        (), description="origins of web pages that may use the server, as a list; * for all, only with a key"
    )
    trusted_proxies: Annotated[tuple[str, ...], env("TRUSTED_PROXIES")] = Field(
        (), description="addresses and networks whose X-Forwarded-For names the client, as a list"
    )
    rate_limit_enabled: Annotated[bool, env("RATE_LIMIT_ENABLED")] = Field(
        False, description="limit requests by route and client address; on too if a number below is set"
    )
    rate_limit_chat: Annotated[int, env("RATE_LIMIT_CHAT_PER_MINUTE")] = Field(
        10, ge=1, description="requests a minute that ask for turns"
    )
    rate_limit_debug: Annotated[int, env("RATE_LIMIT_DEBUG_PER_MINUTE")] = Field(
        2, ge=1, description="the same for /v1/debug"
    )
    rate_limit_auth: Annotated[int, env("RATE_LIMIT_AUTH_PER_MINUTE")] = Field(
        10, ge=1, description="the same for /v1/auth"
    )
    rate_limit_health: Annotated[int, env("RATE_LIMIT_HEALTH_PER_MINUTE")] = Field(
        30, ge=1, description="the same for /health"
    )
    rate_limit_session: Annotated[int, env("RATE_LIMIT_SESSION_PER_MINUTE")] = Field(
        15, ge=1, description="the same for /v1/sessions"
    )
    rate_limit_general: Annotated[int, env("RATE_LIMIT_PER_MINUTE")] = Field(
        30, ge=1, description="the same for each other route"
    )
    rate_limit_storage_url: Annotated[SecretStr | None, env("RATE_LIMIT_STORAGE_URL", secret=True)] = Field(
        None,
        description="Redis (redis:// or rediss://) that counts for several servers; none: in memory",
    )
    claude_bin: Annotated[str, env("CLAUDE_BIN", "CLAUDE_CLI_PATH")] = Field(
        "claude", min_length=1, description="the claude binary: a name on PATH, or a path"
    )
    max_request_size: Annotated[int, env("MAX_REQUEST_SIZE")] = Field(
        20 * 1024 * 1024, ge=1024, description="largest request body, bytes; a larger one gets a 413"
    )
    default_model: Annotated[str | None, env("CLAUDE_DEFAULT_MODEL", "DEFAULT_MODEL")] = Field(
        None, description="model for requests that name none (default, auto, claude, claude-cli, empty)"
    )
    max_concurrency: Annotated[int, env("CLAUDE_MAX_CONCURRENCY")] = Field(
        4, ge=1, le=256, description="turns at a time"
    )
    max_queue: Annotated[int, env("CLAUDE_MAX_QUEUE")] = Field(
        64, ge=0, description="requests that may wait for a turn or a busy session; one more gets a 429"
    )
    queue_timeout: Annotated[float, env("CLAUDE_QUEUE_TIMEOUT")] = Field(
        60, gt=0, description="longest wait in that queue, seconds"
    )
    timeout: Annotated[float, env("CLAUDE_TIMEOUT", "MAX_TIMEOUT")] = Field(
        300, gt=0, description="longest attempt at a turn, seconds (MAX_TIMEOUT: milliseconds)"
    )
    first_event_timeout: Annotated[float, env("CLAUDE_FIRST_EVENT_TIMEOUT")] = Field(
        60, gt=0, description="longest wait for an attempt's first event, or for progress towards it, seconds"
    )
    idle_timeout: Annotated[float, env("CLAUDE_IDLE_TIMEOUT")] = Field(
        120, gt=0, description="longest silence inside an attempt, seconds"
    )
    max_retries: Annotated[int, env("CLAUDE_MAX_RETRIES")] = Field(
        5, ge=0, le=100, description="retries after the first try"
    )
    base_backoff: Annotated[float, env("CLAUDE_BASE_BACKOFF")] = Field(
        2.0, ge=0, description="retry n waits base * 2^(n-1) seconds, at most 60; jitter shortens only"
    )
    drain_timeout: Annotated[float, env("DRAIN_TIMEOUT")] = Field(
        30, ge=0, description="time that running turns have to finish when the server is stopped, seconds"
    )
    stream_mode: Annotated[Literal["live", "buffered"], env("CLAUDE_STREAM_MODE")] = Field(
        "live", description="live: tokens as they come; buffered: the whole reply, then in chunks"
    )
    chunk_chars: Annotated[int, env("CLAUDE_CHUNK_CHARS")] = Field(
        48, ge=1, description="characters a chunk in buffered mode"
    )
    strict: Annotated[bool, env("CLAUDE_STRICT")] = Field(
        False, description="refuse parameters that have no effect, instead of naming them in x-ignored-params"
    )
    sampling_models: Annotated[tuple[str, ...], env("CLAUDE_SAMPLING_MODELS")] = Field(
        (), description="models that temperature and top_p are sent to, as names or patterns like haiku*"
    )
    reasoning_field: Annotated[
        Literal["reasoning_content", "reasoning", "none"], env("CLAUDE_REASONING_FIELD")
    ] = Field("reasoning_content", description="name under which Claude's thinking is sent; none: it is not")
    reasoning_details: Annotated[bool, env("CLAUDE_REASONING_DETAILS")] = Field(
        True, description="send chats that thinking signed as well, in reasoning_details, to be sent back"
    )
    fetch_images: Annotated[bool, env("CLAUDE_FETCH_IMAGES")] = Field(
        False, description="fetch images that requests name by http(s) URL; never from private networks"
    )
    image_size: Annotated[int, env("CLAUDE_IMAGE_SIZE")] = Field(
        5 * 1024 * 1024, ge=1024, description="largest image that is fetched, bytes"
    )
    engine: Annotated[Literal["auto", "warm", "keyed", "spawn", "text", "plain"], env("CLAUDE_ENGINE")] = (
        Field("auto", description="how the CLI is used; auto takes the best that the installed one can do")
    )
    state_dir: Annotated[Path, env("CLAUDE_STATE_DIR")] = Field(
        default_factory=lambda: user_state_path(SERVICE),
        description="folder for session records and the CLI's work folder; made with mode 0700",
    )
    share_workers: Annotated[Literal["key", "any", "never"], env("CLAUDE_SHARE_WORKERS")] = Field(
        "key", description="who may share a process: requests with one API key, any, or never two requests"
    )
    warm_workers: Annotated[int, env("CLAUDE_WARM_WORKERS")] = Field(
        4,
        ge=0,
        description="processes kept ready for a burst, also when idle, at most as many as turns at a time; "
        "each takes some 100 MiB",
    )
    kept_sessions: Annotated[int, env("CLAUDE_KEPT_SESSIONS")] = Field(
        4, ge=0, description="idle sessions whose process is kept for the next turn"
    )
    responses_ttl: Annotated[float, env("RESPONSES_TTL")] = Field(
        30 * 24 * 3600, gt=0, description="time for which responses and conversations are kept, seconds"
    )
    responses_max: Annotated[int, env("RESPONSES_MAX")] = Field(
        10_000, ge=0, description="how many of them are kept for each API key; 0 keeps none"
    )
    responses_size: Annotated[int, env("RESPONSES_SIZE")] = Field(
        1024**3, ge=1024, description="how many bytes of them are kept for each API key"
    )
    suspended: Annotated[int | None, env("CLAUDE_SUSPENDED")] = Field(
        None,
        ge=0,
        description="processes that may wait at calls for the client's results; none: twice the turns at a "
        "time; 0: never, the conversation is sent anew with the results",
    )
    suspended_idle: Annotated[float, env("CLAUDE_SUSPENDED_IDLE")] = Field(
        300, gt=0, description="how long a process waits at calls before it is ended, seconds"
    )
    session_ttl: Annotated[float, env("SESSION_TTL")] = Field(
        3600,
        gt=0,
        description="idle time after which a session is no longer listed and its process is ended, seconds; "
        "its conversation stays and can be continued",
    )
    thinking_ttl: Annotated[float, env("CLAUDE_THINKING_TTL")] = Field(
        24 * 3600,
        ge=0,
        description="time for which Claude's thinking before a tool call is kept, to be put back when the "
        "call's result comes, seconds; 0: not at all",
    )
    worker_turns: Annotated[int, env("CLAUDE_WORKER_TURNS")] = Field(
        1000, ge=1, description="turns after which a process is replaced"
    )
    worker_age: Annotated[float, env("CLAUDE_WORKER_AGE")] = Field(
        3600, gt=0, description="age after which a process is replaced, seconds"
    )
    worker_idle: Annotated[float, env("CLAUDE_WORKER_IDLE")] = Field(
        300, gt=0, description="idle time after which a process that served is ended, seconds"
    )
    worker_memory: Annotated[int, env("CLAUDE_WORKER_MEMORY")] = Field(
        400, ge=1, description="memory beyond which a process is replaced, MiB"
    )
    setting_sources: Annotated[Literal["", "user"], env("CLAUDE_SETTING_SOURCES")] = Field(
        "", description="'user' lets the CLI's own user settings in (apiKeyHelper, env); empty: none"
    )
    auth_method: Annotated[Choice | None, env("CLAUDE_AUTH_METHOD")] = Field(
        None,
        description="how the CLI logs in: cli (its own login), api_key, bedrock or vertex; none: as the "
        "environment says",
    )
    use_subscription: Annotated[bool, env("CLAUDE_USE_SUBSCRIPTION")] = Field(
        False, description="log in with the CLI's own login, whatever key or provider is set"
    )
    allow_tools: Annotated[tuple[str, ...], env("CLAUDE_ALLOW_TOOLS")] = Field(
        (),
        description="tools of the CLI's own that requests may switch on: off, on for all, or names like "
        "Read,Glob,Grep. Whoever may use Bash can do what the server's user can",
    )
    work_dir: Annotated[Path | None, env("CLAUDE_CWD")] = Field(
        None, description="the folder that those tools work in"
    )
    show_tools: Annotated[bool, env("CLAUDE_SHOW_TOOLS")] = Field(
        True, description="tell what those tools do, a line each, under the name of Claude's thinking"
    )
    allow_bypass: Annotated[bool, env("CLAUDE_ALLOW_BYPASS")] = Field(
        False, description="let requests choose the permission mode bypassPermissions; not as root"
    )
    allow_mcp: Annotated[bool, env("CLAUDE_ALLOW_MCP")] = Field(
        False,
        description="let operators register MCP servers over the API, which run commands on this machine",
    )
    mcp_config: Annotated[Path | None, env("CLAUDE_MCP_CONFIG")] = Field(
        None, description='file of MCP servers for requests with tools: {"mcpServers": {...}}'
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], env("LOG_LEVEL", "DEBUG_MODE", "VERBOSE")
    ] = Field("info", description="lowest level that is logged (DEBUG_MODE or VERBOSE: debug)")
    log_format: Annotated[Literal["console", "json"], env("LOG_FORMAT")] = Field(
        "console", description="how a log line looks"
    )
    log_file: Annotated[Path | None, env("LOG_FILE")] = Field(
        None, description="file to log to, instead of standard error"
    )
    child_env: Mapping[str, str] = Field(default_factory=dict, repr=False)
    login: Login = Login()

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        if host == "localhost":
            return "127.0.0.1"
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError("an address is needed, like 127.0.0.1, or 0.0.0.0 for all of them") from None

    @property
    def chosen_keys(self) -> dict[str, SecretStr]:
        """The keys that the operator chose, by names that may be shown."""
        first = {"API_KEY": self.api_key} if self.api_key else {}
        return first | {f"API_KEYS.{number}": key for number, key in enumerate(self.api_keys, 1)}

    @property
    def rate_limits(self) -> dict[str, int] | None:
        """Requests a minute by kind of route; None: off."""
        limits = {kind: getattr(self, f"rate_limit_{kind}") for kind in RATE_KINDS}
        return limits if self.rate_limit_enabled else None

    @field_validator("allow_tools", mode="before")
    @classmethod
    def _switched(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        word = value.strip().lower()
        if word in sources.TRUE:
            return (values.ALL,)
        return () if word in sources.FALSE else values.tool_names(value)

    @field_validator("api_keys", "cors_origins", "trusted_proxies", "sampling_models", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return values.listed(value) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(values.origin(text) for text in origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(values.network(text) for text in networks)

    @field_validator("rate_limit_storage_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("a URL that begins with redis:// or rediss:// is needed")
        return url

    @field_validator("state_dir", "log_file", "work_dir", "mcp_config")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        return path and path.expanduser()

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


def setting_fields() -> list[SettingField]:
    """Every setting that a person can set, in order."""
    return list(fields.setting_fields(Settings))


def env_example() -> str:
    """The text of `.env.example`."""
    return fields.example(iter(setting_fields()))
