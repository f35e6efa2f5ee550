"""Settings: their sources, their order, and what is said about wrong ones."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from platformdirs import user_state_path
from pydantic import SecretStr, ValidationError

from claude_server.app import main as claude_api
from claude_server.app.commands.table import COMMANDS
from claude_server.configuration import loading
from claude_server.configuration import settings as config
from claude_server.configuration.fields import default_text, is_switch
from claude_server.configuration.loading import Loaded, load
from claude_server.configuration.settings import ConfigError, Settings, env_example
from claude_server.engine.binary import EngineOptions
from claude_server.engine.workers.state import Level
from claude_server.engine.workers.worker import Limits, SharePolicy

ROOT = Path(__file__).resolve().parents[2]
NO_FILE = Path("/nowhere/.env")
# field, default, environment names, option, a value as text, the value
TABLE: list[tuple[str, Any, tuple[str, ...], str | None, str, Any]] = [
    ("host", "127.0.0.1", ("CLAUDE_API_HOST", "CLAUDE_WRAPPER_HOST"), "--host", "::1", "::1"),
    ("port", 8765, ("CLAUDE_API_PORT", "PORT"), "--port", "9000", 9000),
    ("api_key", None, ("API_KEY",), None, "k", SecretStr("k")),
    ("api_keys", (), ("API_KEYS",), None, "k, l,,", (SecretStr("k"), SecretStr("l"))),
    ("cors_origins", (), ("CORS_ORIGINS",), "--cors-origins", "http://a/, *", ("http://a", "*")),
    ("trusted_proxies", (), ("TRUSTED_PROXIES",), "--trusted-proxies", "10.1.2.3/8", ("10.0.0.0/8",)),
    ("rate_limit_enabled", False, ("RATE_LIMIT_ENABLED",), "--rate-limit-enabled", "true", True),
    *(
        (f"rate_limit_{kind}", default, (name,), f"--{name.lower().replace('_', '-')}", "7", 7)
        for kind, default, name in (
            ("chat", 10, "RATE_LIMIT_CHAT_PER_MINUTE"),
            ("debug", 2, "RATE_LIMIT_DEBUG_PER_MINUTE"),
            ("auth", 10, "RATE_LIMIT_AUTH_PER_MINUTE"),
            ("health", 30, "RATE_LIMIT_HEALTH_PER_MINUTE"),
            ("session", 15, "RATE_LIMIT_SESSION_PER_MINUTE"),
            ("general", 30, "RATE_LIMIT_PER_MINUTE"),
        )
    ),
    (
        *("rate_limit_storage_url", None, ("RATE_LIMIT_STORAGE_URL",), None),
        *("redis://h", SecretStr("redis://h")),
    ),
    ("claude_bin", "claude", ("CLAUDE_BIN", "CLAUDE_CLI_PATH"), "--bin", "/x/claude", "/x/claude"),
    (
        *("max_request_size", 20 * 1024 * 1024, ("MAX_REQUEST_SIZE",)),
        *("--max-request-size", "1024", 1024),
    ),
    (
        *("default_model", None, ("CLAUDE_DEFAULT_MODEL", "DEFAULT_MODEL")),
        *("--default-model", "opus", "opus"),
    ),
    ("max_concurrency", 4, ("CLAUDE_MAX_CONCURRENCY",), "--max-concurrency", "7", 7),
    ("max_queue", 64, ("CLAUDE_MAX_QUEUE",), "--max-queue", "0", 0),
    ("queue_timeout", 60, ("CLAUDE_QUEUE_TIMEOUT",), "--queue-timeout", "1.5", 1.5),
    ("timeout", 300, ("CLAUDE_TIMEOUT",), "--timeout", "10", 10),
    ("first_event_timeout", 60, ("CLAUDE_FIRST_EVENT_TIMEOUT",), "--first-event-timeout", "7", 7),
    ("idle_timeout", 120, ("CLAUDE_IDLE_TIMEOUT",), "--idle-timeout", "8", 8),
    ("max_retries", 5, ("CLAUDE_MAX_RETRIES",), "--max-retries", "0", 0),
    ("base_backoff", 2.0, ("CLAUDE_BASE_BACKOFF",), "--base-backoff", "0.5", 0.5),
    ("drain_timeout", 30, ("DRAIN_TIMEOUT",), "--drain-timeout", "5", 5),
    ("stream_mode", "live", ("CLAUDE_STREAM_MODE",), "--stream-mode", "buffered", "buffered"),
    ("chunk_chars", 48, ("CLAUDE_CHUNK_CHARS",), "--chunk-chars", "9", 9),
    ("strict", False, ("CLAUDE_STRICT",), "--strict", "1", True),
    ("sampling_models", (), ("CLAUDE_SAMPLING_MODELS",), "--sampling-models", "a*,b", ("a*", "b")),
    (
        "reasoning_field",
        "reasoning_content",
        ("CLAUDE_REASONING_FIELD",),
        "--reasoning-field",
        "none",
        "none",
    ),
    ("reasoning_details", True, ("CLAUDE_REASONING_DETAILS",), "--reasoning-details", "0", False),
    ("fetch_images", False, ("CLAUDE_FETCH_IMAGES",), "--fetch-images", "1", True),
    ("image_size", 5242880, ("CLAUDE_IMAGE_SIZE",), "--image-size", "2048", 2048),
    ("engine", "auto", ("CLAUDE_ENGINE",), "--engine", "text", "text"),
    ("state_dir", user_state_path("claude-api"), ("CLAUDE_STATE_DIR",), "--state-dir", "/s", Path("/s")),
    ("share_workers", "key", ("CLAUDE_SHARE_WORKERS",), "--share-workers", "never", "never"),
    ("warm_workers", 4, ("CLAUDE_WARM_WORKERS",), "--warm-workers", "0", 0),
    ("kept_sessions", 4, ("CLAUDE_KEPT_SESSIONS",), "--kept-sessions", "0", 0),
    ("responses_ttl", 2_592_000, ("RESPONSES_TTL",), "--responses-ttl", "90", 90),
    ("responses_max", 10_000, ("RESPONSES_MAX",), "--responses-max", "0", 0),
    ("responses_size", 1024**3, ("RESPONSES_SIZE",), "--responses-size", "1024", 1024),
    ("suspended", None, ("CLAUDE_SUSPENDED",), "--suspended", "3", 3),
    ("suspended_idle", 300, ("CLAUDE_SUSPENDED_IDLE",), "--suspended-idle", "2.5", 2.5),
    ("session_ttl", 3600, ("SESSION_TTL",), "--session-ttl", "90", 90),
    ("thinking_ttl", 86400, ("CLAUDE_THINKING_TTL",), "--thinking-ttl", "60", 60),
    ("worker_turns", 1000, ("CLAUDE_WORKER_TURNS",), "--worker-turns", "1", 1),
    ("worker_age", 3600, ("CLAUDE_WORKER_AGE",), "--worker-age", "0.5", 0.5),
    ("worker_idle", 300, ("CLAUDE_WORKER_IDLE",), "--worker-idle", "1.5", 1.5),
    ("worker_memory", 400, ("CLAUDE_WORKER_MEMORY",), "--worker-memory", "500", 500),
    ("setting_sources", "", ("CLAUDE_SETTING_SOURCES",), "--setting-sources", "user", "user"),
    ("auth_method", None, ("CLAUDE_AUTH_METHOD",), "--auth-method", "cli", "cli"),
    ("use_subscription", False, ("CLAUDE_USE_SUBSCRIPTION",), "--use-subscription", "yes", True),
    ("allow_tools", (), ("CLAUDE_ALLOW_TOOLS",), "--allow-tools", "Read, Bash", ("Read", "Bash")),
    ("work_dir", None, ("CLAUDE_CWD",), "--cwd", "/work", Path("/work")),
    ("show_tools", True, ("CLAUDE_SHOW_TOOLS",), "--show-tools", "off", False),
    ("allow_bypass", False, ("CLAUDE_ALLOW_BYPASS",), "--allow-bypass", "on", True),
    ("allow_mcp", False, ("CLAUDE_ALLOW_MCP",), "--allow-mcp", "on", True),
    ("mcp_config", None, ("CLAUDE_MCP_CONFIG",), "--mcp-config", "/m.json", Path("/m.json")),
    ("log_level", "info", ("LOG_LEVEL",), "--log-level", "WARNING", "warning"),
    ("log_format", "console", ("LOG_FORMAT",), "--log-format", "json", "json"),
    ("log_file", None, ("LOG_FILE",), "--log-file", "/l", Path("/l")),
]
# Read in a way of their own.
OTHER_NAMES = {"timeout": ("MAX_TIMEOUT",), "log_level": ("DEBUG_MODE", "VERBOSE")}
FIELDS = [row[0] for row in TABLE]
EVERY = pytest.mark.parametrize(("name", "default", "names", "option", "text", "value"), TABLE, ids=FIELDS)


def loaded(*argv: str, env: Mapping[str, str] | None = None, dotenv: Path = NO_FILE) -> Loaded:
    return load(argv, env or {}, dotenv)


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def on_the_command_line(option: str | None, text: str, value: Any) -> list[tuple[str, ...]]:
    """The ways to give a setting there: none for a secret, no value for a switch."""
    if option is None:
        return []
    if isinstance(value, bool):
        return [(option if value else "--no-" + option.removeprefix("--"),)]
    return [(option, text), (f"{option}={text}",)]


# The table


def test_the_table_has_every_setting() -> None:
    assert [name for name, _, _ in config.setting_fields()] == FIELDS
    assert set(Settings.model_fields) - set(FIELDS) == {"child_env", "login"}


@EVERY
def test_each_setting(
    name: str, default: Any, names: tuple[str, ...], option: str | None, text: str, value: Any, dotenv: Path
) -> None:
    mark = next(mark for field, mark, _ in config.setting_fields() if field == name)
    assert mark.names == names + OTHER_NAMES.get(name, ())
    assert mark.option == option
    unset = loaded()
    assert getattr(unset.settings, name) == default
    assert unset.notes == ()
    for argv in on_the_command_line(option, text, value):
        assert getattr(loaded(*argv).settings, name) == value
    for key in names:
        assert getattr(loaded(env={key: text}).settings, name) == value
        assert getattr(loaded(env={key: ""}).settings, name) == default
        dotenv.write_text(f"{key}={text}\n")
        assert getattr(loaded(dotenv=dotenv).settings, name) == value


@EVERY
def test_the_order_of_the_sources(
    name: str, default: Any, names: tuple[str, ...], option: str | None, text: str, value: Any, dotenv: Path
) -> None:
    (key, *_) = names
    # What is overridden is not even looked at.
    dotenv.write_text(f"{key}=nonsense-in-the-file\n")
    assert getattr(loaded(env={key: text}, dotenv=dotenv).settings, name) == value
    for argv in on_the_command_line(option, text, value):
        assert getattr(loaded(*argv, env={key: "nonsense"}, dotenv=dotenv).settings, name) == value
    dotenv.write_text(f"{key}={text}\n")
    assert getattr(loaded(env={key: ""}, dotenv=dotenv).settings, name) == value


@pytest.mark.parametrize(
    ("first", "second", "a", "b"),
    [(names[0], other, text, "localhost") for _, _, names, _, text, _ in TABLE for other in names[1:]],
)
def test_two_names_that_differ(first: str, second: str, a: str, b: str) -> None:
    result = loaded(env={second: b, first: a})
    assert result.notes == (f"{first} and {second} differ; {first} is used",)
    assert result.settings == loaded(env={first: a}).settings
    assert loaded(env={second: a, first: a}).notes == ()


def test_a_flag_silences_two_names_that_differ() -> None:
    assert loaded("--port", "1", env={"PORT": "2", "CLAUDE_API_PORT": "3"}).notes == ()


def test_a_file_with_an_empty_line_for_a_setting(dotenv: Path) -> None:
    dotenv.write_text("CLAUDE_API_PORT\nCLAUDE_DEFAULT_MODEL=\n")
    assert loaded(dotenv=dotenv).settings == loaded().settings


def test_a_file_that_can_not_be_read(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv.write_bytes(b"PORT=1\xff\n")
    with pytest.raises(ConfigError, match=r"\.env can't be read: it is not UTF-8 \(byte 7\)\."):
        loaded(dotenv=dotenv)

    def refuse(file: Path) -> dict[str, str]:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    # Root reads whatever the mode says.
    monkeypatch.setattr(loading, "dotenv_values", refuse)
    with pytest.raises(ConfigError, match=r"\.env can't be read: Permission denied\."):
        loaded(dotenv=dotenv)


def test_the_environment_and_the_file_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORT", raising=False)
    monkeypatch.setenv("CLAUDE_MAX_QUEUE", "5")
    (tmp_path / ".env").write_text("CLAUDE_MAX_QUEUE=6\nCLAUDE_API_PORT=9001\n")
    settings = load().settings
    assert (settings.max_queue, settings.port) == (5, 9001)


def test_settings_do_not_change() -> None:
    settings = loaded().settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Settings.model_validate({"colour": "red"})


# Names with a way of their own


@pytest.mark.parametrize(
    ("given", "seconds", "note"),
    [
        ("600000", 600, "MAX_TIMEOUT=600000 is read as 600 seconds"),
        ("1000", 1, "MAX_TIMEOUT=1000 is read as 1 seconds"),
        ("1500", 1.5, "MAX_TIMEOUT=1500 is read as 1.5 seconds"),
        ("999", 999, "MAX_TIMEOUT=999 is read as 999 seconds"),
        ("30", 30, "MAX_TIMEOUT=30 is read as 30 seconds"),
    ],
)
def test_max_timeout_is_in_milliseconds(given: str, seconds: float, note: str) -> None:
    result = loaded(env={"MAX_TIMEOUT": given})
    assert result.settings.timeout == seconds
    assert result.notes == (note,)


def test_max_timeout_beside_ours() -> None:
    result = loaded(env={"MAX_TIMEOUT": "600000", "CLAUDE_TIMEOUT": "20"})
    assert result.settings.timeout == 20
    assert result.notes[-1] == "CLAUDE_TIMEOUT and MAX_TIMEOUT differ; CLAUDE_TIMEOUT is used"
    agreed = loaded(env={"MAX_TIMEOUT": "20000", "CLAUDE_TIMEOUT": "20"})
    assert agreed.notes == ("MAX_TIMEOUT=20000 is read as 20 seconds",)


@pytest.mark.parametrize("name", ["DEBUG_MODE", "VERBOSE"])
@pytest.mark.parametrize(
    ("given", "level"),
    [
        ("true", "debug"),
        ("1", "debug"),
        ("YES", "debug"),
        (" on ", "debug"),
        ("false", "info"),
        ("0", "info"),
    ],
)
def test_debug_switches(name: str, given: str, level: str) -> None:
    assert loaded(env={name: given}).settings.log_level == level


def test_debug_switches_beside_the_level(dotenv: Path) -> None:
    result = loaded(env={"LOG_LEVEL": "error", "VERBOSE": "1", "DEBUG_MODE": "0"})
    assert result.settings.log_level == "error"
    assert result.notes == ("LOG_LEVEL and VERBOSE differ; LOG_LEVEL is used",)
    # A switch that is off says nothing, and leaves the level to the file.
    dotenv.write_text("LOG_LEVEL=error\n")
    assert loaded(env={"VERBOSE": "false"}, dotenv=dotenv).settings.log_level == "error"


def test_a_level_in_capitals_does_not_differ_from_a_switch() -> None:
    result = loaded(env={"LOG_LEVEL": "DEBUG", "VERBOSE": "1"})
    assert (result.settings.log_level, result.notes) == ("debug", ())


@pytest.mark.parametrize(("name", "key"), [("state_dir", "CLAUDE_STATE_DIR"), ("log_file", "LOG_FILE")])
def test_a_path_in_the_home(dotenv: Path, name: str, key: str) -> None:
    # No shell reads the file: nobody else turns "~" into the home.
    dotenv.write_text(f"{key}=~/x\n")
    assert getattr(loaded(dotenv=dotenv).settings, name) == Path.home() / "x"


@pytest.mark.parametrize("level", ["auto", "warm", "keyed", "spawn", "text", "plain"])
def test_the_engine_levels(level: str) -> None:
    assert loaded(env={"CLAUDE_ENGINE": level}).settings.engine == level


def test_the_engine_levels_are_the_engines() -> None:
    assert set(get_args(Settings.model_fields["engine"].annotation)) == {"auto", *get_args(Level)}
    assert get_args(Settings.model_fields["share_workers"].annotation) == get_args(SharePolicy)


def test_the_limits_of_a_worker_are_the_engines() -> None:
    """A default has one place too many: here they are held together."""
    settings, limits = loaded().settings, Limits()
    assert (settings.worker_turns, settings.worker_age) == (limits.turns, limits.age)
    assert (settings.worker_idle, settings.worker_memory * 1024 * 1024) == (limits.idle, limits.memory)
    options = EngineOptions()
    assert (settings.max_concurrency, settings.kept_sessions) == (options.size, options.kept_sessions)
    assert settings.warm_workers == options.warm
    assert (settings.share_workers, settings.engine) == (options.share, options.level)
    assert settings.suspended_idle == options.suspended_idle


@pytest.mark.parametrize("word", ["nonsense", "doctor", "", "-", "8765x", "1.5"])
def test_a_first_word_that_means_nothing(word: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(word)
    assert str(raised.value) == f"'{word}' is neither a port, nor a command that comes first. See --help."
    with pytest.raises(ConfigError, match="is neither a port"):
        loaded(word, "--port", "9")


# Wrong values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "abc"),
        ("port", "-1"),
        ("port", "65536"),
        ("max_request_size", "1023"),
        ("max_request_size", "20 MB"),
        ("max_concurrency", "0"),
        ("max_concurrency", "257"),
        ("max_queue", "-1"),
        ("queue_timeout", "0"),
        ("timeout", "0"),
        ("timeout", "soon"),
        ("first_event_timeout", "-1"),
        ("idle_timeout", "0"),
        ("max_retries", "-1"),
        ("max_retries", "1.5"),
        ("base_backoff", "-0.1"),
        ("stream_mode", "fast"),
        ("chunk_chars", "0"),
        ("engine", "diesel"),
        ("share_workers", "all"),
        ("kept_sessions", "-1"),
        ("suspended", "-1"),
        ("suspended", "2.5"),
        ("suspended_idle", "0"),
        ("session_ttl", "0"),
        ("kept_sessions", "0.5"),
        ("worker_turns", "0"),
        ("worker_age", "0"),
        ("worker_idle", "-1"),
        ("worker_idle", "0"),
        ("worker_memory", "0"),
        ("worker_memory", "1.5"),
        ("setting_sources", "project"),
        ("allow_tools", "Read, --print"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("host", "example.org"),
        ("trusted_proxies", "proxy.example"),
        ("rate_limit_enabled", "perhaps"),
        ("rate_limit_chat", "0"),
        ("rate_limit_general", "many"),
        ("cors_origins", "example.org"),
        ("cors_origins", "http://example.org/page"),
        ("cors_origins", "null"),
        ("cors_origins", '["http://example.org"'),
        ("cors_origins", '["http://example.org", 1]'),
    ],
)
def test_a_wrong_value_is_named_with_its_source(name: str, value: str, dotenv: Path) -> None:
    _, mark, field = next(row for row in config.setting_fields() if row.name == name)
    (key, *_) = mark.names
    dotenv.write_text(f"{key}={value}\n")
    sources: list[tuple[str, tuple[str, ...], dict[str, str], Path]] = [
        (f"{key}={value}", (), {key: value}, NO_FILE),
        (f"{key}={value} in .env", (), {}, dotenv),
    ]
    if mark.option is not None and not is_switch(field):
        sources.append((f"{mark.option}={value}", (f"{mark.option}={value}",), {}, NO_FILE))
    for source, argv, environ, file in sources:
        with pytest.raises(ConfigError) as raised:
            load(argv, environ, file)
        assert re.fullmatch(re.escape(f"{source}: ") + r"[^A-Z\n].*\.", str(raised.value))


def test_a_name_that_is_needed() -> None:
    with pytest.raises(ConfigError, match="--bin=: string should have at least 1 character"):
        loaded("--bin", "")


def test_every_wrong_value_is_told() -> None:
    with pytest.raises(ConfigError) as raised:
        loaded("--port", "x", env={"CLAUDE_MAX_QUEUE": "y", "MAX_TIMEOUT": "z"})
    lines = str(raised.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["--port=x", "CLAUDE_MAX_QUEUE=y", "MAX_TIMEOUT=z"]


@pytest.mark.parametrize(
    ("argv", "env", "may_ask"),
    [
        ((), {}, True),
        ((), {"MAKELEVEL": ""}, True),
        ((), {"MAKELEVEL": "1"}, False),
        (("--no-prompt",), {}, False),
        (("--reload",), {}, False),
    ],
)
def test_who_may_be_asked(argv: tuple[str, ...], env: dict[str, str], may_ask: bool) -> None:
    assert loaded(*argv, env=env).may_ask is may_ask


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        loaded("--colour", "red")
    assert ended.value.code == 2
    assert "--colour" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "192.168.1.2"])
def test_addresses(host: str) -> None:
    """Whether one may be listened on depends on the keys: start/keys.py."""
    assert loaded("--host", host).settings.host == host


def test_localhost_is_the_loopback_address() -> None:
    assert loaded("--host", "localhost").settings.host == "127.0.0.1"


@pytest.mark.parametrize("host", ["example.org", "127.1", "[::1]", ""])
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(ConfigError, match=r"an address is needed, like 127\.0\.0\.1"):
        loaded("--host", host)


# Lists


@pytest.mark.parametrize(
    "text", ["http://a,https://b:8", '["http://a", "https://b:8"]', "HTTP://A/ , https://b:8 ,"]
)
def test_a_list_in_each_way(text: str) -> None:
    assert loaded(env={"CORS_ORIGINS": text}).settings.cors_origins == ("http://a", "https://b:8")


def test_secrets_are_not_shown() -> None:
    given = {"API_KEY": "secret-one", "API_KEYS": "secret-two,secret-three"}
    settings = loaded(env={**given, "RATE_LIMIT_STORAGE_URL": "redis://:secret@h"}).settings
    assert "secret" not in repr(settings)
    with pytest.raises(ConfigError, match=r"^RATE_LIMIT_STORAGE_URL=\*\*\*: a URL that begins") as raised:
        loaded(env={"RATE_LIMIT_STORAGE_URL": "memcached://:secret@h"})
    assert "secret" not in str(raised.value)


def test_a_key_that_can_be_guessed_is_told() -> None:
    note = "a key of less than 16 characters in API_KEY or API_KEYS can be guessed"
    assert loaded(env={"API_KEY": "x" * 15}).notes == (note,)
    assert loaded(env={"API_KEY": "x" * 16, "API_KEYS": f"{'y' * 16},z"}).notes == (note,)
    assert loaded(env={"API_KEY": "x" * 16, "API_KEYS": "y" * 16}).notes == ()


# Rate limits


# What the wrapper's README promises.
DOCUMENTED = {"chat": 10, "debug": 2, "auth": 10, "health": 30, "session": 15, "general": 30}


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, None),
        ({"RATE_LIMIT_ENABLED": "true"}, {}),
        ({"RATE_LIMIT_ENABLED": "false"}, None),
        ({"RATE_LIMIT_DEBUG_PER_MINUTE": "2"}, {}),
        ({"RATE_LIMIT_PER_MINUTE": "5"}, {"general": 5}),
        ({"RATE_LIMIT_CHAT_PER_MINUTE": "5"}, {"chat": 5}),
        ({"RATE_LIMIT_CHAT_PER_MINUTE": "5", "RATE_LIMIT_ENABLED": "false"}, None),
        ({"RATE_LIMIT_STORAGE_URL": "redis://h"}, None),
    ],
)
def test_rate_limits_are_on_when_one_is_set(given: dict[str, str], changed: dict[str, int] | None) -> None:
    assert loaded(env=given).settings.rate_limits == (None if changed is None else DOCUMENTED | changed)


def test_the_switch_decides_for_who_makes_settings_in_python() -> None:
    assert Settings(rate_limit_chat=5).rate_limits is None
    assert Settings(rate_limit_chat=5, rate_limit_enabled=True).rate_limits == DOCUMENTED | {"chat": 5}


# The port


@pytest.mark.parametrize(
    ("argv", "env", "port", "pinned"),
    [
        ((), {}, 8765, False),
        ((), {"PORT": "1"}, 1, False),
        ((), {"CLAUDE_API_PORT": "2"}, 2, True),
        ((), {"CLAUDE_API_PORT": "2", "PORT": "1"}, 2, True),
        (("--port", "3"), {"PORT": "1"}, 3, True),
        (("4",), {"CLAUDE_API_PORT": "2"}, 4, True),
        (("4", "--port", "3"), {}, 3, True),
        (("0",), {}, 0, True),
    ],
)
def test_a_port_that_was_given_is_pinned(
    argv: tuple[str, ...], env: dict[str, str], port: int, pinned: bool
) -> None:
    result = loaded(*argv, env=env)
    assert (result.settings.port, result.port_pinned) == (port, pinned)


@pytest.mark.parametrize(("key", "pinned"), [("CLAUDE_API_PORT", True), ("PORT", False)])
def test_a_port_in_the_file(dotenv: Path, key: str, pinned: bool) -> None:
    dotenv.write_text(f"{key}=9000\n")
    result = loaded(dotenv=dotenv)
    assert (result.settings.port, result.port_pinned) == (9000, pinned)


def test_the_child_sees_the_file_too_and_the_environment_first(dotenv: Path) -> None:
    dotenv.write_text("ANTHROPIC_API_KEY=file\nANTHROPIC_MODEL=m\nGITHUB_TOKEN=t\n")
    settings = loaded(env={"ANTHROPIC_API_KEY": "env", "HOME": "/h"}, dotenv=dotenv).settings
    assert settings.child_env == {"ANTHROPIC_API_KEY": "env", "ANTHROPIC_MODEL": "m", "HOME": "/h"}
    assert "child_env" not in repr(settings)


# What is written about the settings


def test_help_names_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as ended:
        load(["--help"], commands="  polish  make it shine")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "\n  polish  make it shine\n" in text
    for name, mark, field in config.setting_fields():
        assert field.description
        if mark.option is None:
            assert mark.names[0] in text
            continue
        option = rf"{mark.option} \S+"
        if is_switch(field):
            option = f"{mark.option}, --no-{mark.option.removeprefix('--')}"
        setting_fields = (
            f"{field.description} (default: {default_text(name, field)}; {', '.join(mark.names)})"
        )
        assert re.search(rf"^  {option}\s+{re.escape(setting_fields)}$", text, re.MULTILINE)
    assert "--version" in text


def test_help_shows_the_choices_and_the_commands_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(["--help"], commands="  polish  make it shine")
    text = capsys.readouterr().out
    for option in (
        *("--engine {auto,warm,keyed,spawn,text,plain}", "--stream-mode {live,buffered}"),
        *("--auth-method {cli,api_key,bedrock,vertex}", "--setting-sources {user}"),
        *("--max-queue N", "--timeout SECONDS", "--cwd PATH", "--allow-tools A,B"),
    ):
        assert f"\n  {option} " in text or f"\n  {option}\n" in text
    assert text.index("polish") < text.index("--version")
    assert text.startswith("usage: claude_api.py [PORT] [option ...]\n       claude_api.py COMMAND ...\n")


@pytest.mark.parametrize(
    "words",
    [(), ("check",), ("doctor",), ("keys",), ("keys", "add"), ("keys", "list"), ("keys", "revoke")],
    ids=" ".join,
)
def test_help_fits_80_columns(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        claude_api.main([*words, "--help"])
    text = capsys.readouterr().out
    assert set(COMMANDS) <= set(text.split()) or words
    assert [line for line in text.splitlines() if len(line) >= 80] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        loaded("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"claude-api {config.VERSION}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("host", "127.0.0.1"),
        ("default_model", "none"),
        ("setting_sources", "none"),
        ("state_dir", "the user's state folder"),
        ("base_backoff", "2"),
        ("timeout", "300"),
    ],
)
def test_defaults_as_a_person_reads_them(name: str, text: str) -> None:
    assert default_text(name, Settings.model_fields[name]) == text


def test_the_example_is_up_to_date() -> None:
    assert (ROOT / ".env.example").read_text() == env_example(), "run: make env-example"


def test_the_example_names_every_setting_and_sets_none(dotenv: Path) -> None:
    dotenv.write_text(env_example())
    assert loaded(dotenv=dotenv) == loaded()
    lines = env_example().splitlines()
    for _, env, _ in config.setting_fields():
        (line,) = [index for index, text in enumerate(lines) if text.startswith(f"#{env.names[0]}=")]
        for other in env.names[1:]:
            assert other in lines[line - 1]


def test_the_example_uncommented_is_the_defaults(dotenv: Path) -> None:
    dotenv.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", env_example(), flags=re.MULTILINE))
    result = loaded(dotenv=dotenv)
    assert result.settings == loaded().settings
