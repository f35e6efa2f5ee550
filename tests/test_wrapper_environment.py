"""Every variable that users of claude-code-openai-wrapper may have in their `.env`: what it does here.

`PROOFS` names a test for each; docs/migrating.md has the same list.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from claude_server.configuration.loading import load
from claude_server.configuration.settings import setting_fields
from claude_server.standin import Reply, StandIn, default_reply
from tests.http.guard.application import BODY, CHAT, Running, running
from tests.readme import document
from tests.support import PATIENCE, ROOT, Server, clean_environment, serving

HERE = "tests/test_wrapper_environment.py"
# While no key is set only these names are heeded, not every address of the loopback network.
LOCAL = {"Host": "localhost"}
NO_FILE = Path("/nowhere/.env")
LOGIN = "tests/e2e/test_login.py"
PROOFS = {
    "PORT": "tests/e2e/test_start.py::test_a_taken_port",
    "CLAUDE_WRAPPER_HOST": f"{HERE}::test_the_address",
    "API_KEY": f"{HERE}::test_keys",
    "API_KEYS": f"{HERE}::test_keys",
    "MAX_TIMEOUT": f"{HERE}::test_the_timeout",
    "MAX_REQUEST_SIZE": f"{HERE}::test_the_size",
    "CORS_ORIGINS": f"{HERE}::test_a_web_page",
    "DEBUG_MODE": f"{HERE}::test_debugging",
    "VERBOSE": f"{HERE}::test_debugging",
    "CLAUDE_CLI_PATH": f"{HERE}::test_the_cli_and_its_model",
    "DEFAULT_MODEL": f"{HERE}::test_the_cli_and_its_model",
    "CLAUDE_CWD": "tests/e2e/test_cli_tools.py::test_tools_run_in_the_work_folder_and_are_told",
    "CLAUDE_AUTH_METHOD": f"{LOGIN}::test_what_is_missing_is_named_and_no_turn_is_tried_twice",
    "CLAUDE_USE_SUBSCRIPTION": f"{LOGIN}::test_the_subscription_is_used_though_there_is_a_key",
    "CLAUDE_CODE_USE_BEDROCK": f"{LOGIN}::test_bedrock",
    "CLAUDE_CODE_USE_VERTEX": f"{LOGIN}::test_vertex",
    "ANTHROPIC_API_KEY": f"{LOGIN}::test_a_key_headers_and_a_thinking_budget",
    "AWS_*": f"{LOGIN}::test_bedrock",
    "ANTHROPIC_VERTEX_PROJECT_ID": f"{LOGIN}::test_vertex",
    "CLOUD_ML_REGION": f"{LOGIN}::test_vertex",
    "GOOGLE_APPLICATION_CREDENTIALS": f"{LOGIN}::test_vertex",
    "MAX_THINKING_TOKENS": f"{LOGIN}::test_a_key_headers_and_a_thinking_budget",
    "ANTHROPIC_CUSTOM_HEADERS": f"{LOGIN}::test_a_key_headers_and_a_thinking_budget",
    "RATE_LIMIT_ENABLED": f"{HERE}::test_rate_limits",
    "RATE_LIMIT_CHAT_PER_MINUTE": f"{HERE}::test_rate_limits",
    "RATE_LIMIT_DEBUG_PER_MINUTE": f"{HERE}::test_rate_limits",
    "RATE_LIMIT_AUTH_PER_MINUTE": f"{HERE}::test_rate_limits",
    "RATE_LIMIT_HEALTH_PER_MINUTE": f"{HERE}::test_rate_limits",
    "RATE_LIMIT_SESSION_PER_MINUTE": f"{HERE}::test_rate_limits",
    "RATE_LIMIT_PER_MINUTE": f"{HERE}::test_rate_limits",
}


@pytest.mark.parametrize("name", PROOFS)
def test_each_has_a_proof(name: str) -> None:
    """A test that is there, in a file that sets the variable."""
    place, _, test = PROOFS[name].partition("::")
    text = (ROOT / place).read_text(encoding="utf-8")
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert test in {found.name for found in ast.parse(text).body if isinstance(found, functions)}
    # Beside the line of PROOFS.
    assert name.rstrip("*") in re.sub(
        rf'^    "{re.escape(name)}": f?"(tests|{{)', "", text, flags=re.MULTILINE
    )


def test_the_list_that_is_written() -> None:
    written = [names for row in document.rows("Its variables", document.MIGRATING) for names in row[:1]]
    assert [name for cell in written for name in document.names(cell)] == list(PROOFS)


@contextlib.asynccontextmanager
async def with_environment(folder: Path, **environ: str) -> AsyncIterator[Running]:
    """The application that these variables make, over a backend of the tests."""
    settings = load((), environ, NO_FILE).settings
    names = {name for name, _, _ in setting_fields()} & settings.model_fields_set
    async with running(folder, **{name: getattr(settings, name) for name in names}) as app:
        yield app


async def test_keys(tmp_path: Path) -> None:
    first, second, third = "the-first-of-the-keys", "the-second-key", "and-the-third-key"
    async with with_environment(tmp_path, API_KEY=first, API_KEYS=f"{second}, {third}") as app:
        for key in (first, second, third):
            assert (await app.get("/v1/models", authorization=f"Bearer {key}")).status_code == 200
            assert (await app.get("/v1/models", **{"x-api-key": key})).status_code == 200
        assert (await app.get("/v1/models")).status_code == 401


async def test_the_size(tmp_path: Path) -> None:
    async with with_environment(tmp_path, MAX_REQUEST_SIZE="2048") as app:
        assert (await app.chat()).status_code == 200
        assert (await app.chat(user="x" * 2048)).status_code == 413


def test_the_timeout(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """In milliseconds; a value below 1000 is in seconds, as the wrapper's Docker guide has it."""
    for text, seconds in (("600000", 600), ("600", 600), ("1000", 1)):
        loaded = load((), {"MAX_TIMEOUT": text}, NO_FILE)
        assert loaded.settings.timeout == seconds
        assert loaded.notes == (f"MAX_TIMEOUT={text} is read as {seconds} seconds",)
    given = {"CLAUDE_BIN": str(claude_bin), "MAX_TIMEOUT": "1000", "CLAUDE_MAX_RETRIES": "0"}
    api.responder = lambda request: Reply.of("late", first_delay=PATIENCE)
    try:
        with serving(tmp_path, clean_environment(tmp_path, api.url, **given)) as server:
            answer = httpx.post(f"{server.url}{CHAT}", json=BODY, timeout=PATIENCE)
    finally:
        api.responder = default_reply
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


async def test_a_web_page(tmp_path: Path) -> None:
    async with with_environment(tmp_path, CORS_ORIGINS='["http://page.example"]') as app:
        answer = await app.get("/v1/models", origin="http://page.example")
        assert answer.headers["access-control-allow-origin"] == "http://page.example"
        assert (await app.get("/v1/models", origin="http://other.example")).status_code == 403


RATES = {
    "RATE_LIMIT_CHAT_PER_MINUTE": (10, "POST", CHAT),
    "RATE_LIMIT_DEBUG_PER_MINUTE": (2, "POST", "/v1/debug/request"),
    "RATE_LIMIT_AUTH_PER_MINUTE": (10, "GET", "/v1/auth/status"),
    "RATE_LIMIT_HEALTH_PER_MINUTE": (30, "GET", "/health"),
    "RATE_LIMIT_SESSION_PER_MINUTE": (15, "GET", "/v1/sessions/stats"),
    "RATE_LIMIT_PER_MINUTE": (30, "GET", "/v1/models"),
}


@pytest.mark.parametrize("name", ["RATE_LIMIT_ENABLED", *RATES])
async def test_rate_limits(tmp_path: Path, name: str) -> None:
    """Switched on, the wrapper's numbers hold; a number that is set holds, and switches the others on."""
    value = "true" if name == "RATE_LIMIT_ENABLED" else "3"
    async with with_environment(tmp_path, **{name: value}) as app, app.client() as client:
        for route, (default, method, path) in RATES.items():
            allowed = 3 if route == name else default
            answers = [await client.request(method, path, json=BODY) for _ in range(allowed + 1)]
            refused = [answer.status_code == 429 for answer in answers]
            assert refused == [False] * allowed + [True], route
            assert answers[-1].json()["error"]["code"] == "too_many_requests"


@pytest.fixture(scope="module")
def moved(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server whose `.env` is the wrapper's."""
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(home, shared_api.url, CLAUDE_BIN=str(claude_bin))
    del environment["CLAUDE_BIN"]
    lines = {
        **{"PORT": "0", "CLAUDE_WRAPPER_HOST": "127.0.0.2", "CLAUDE_CLI_PATH": str(claude_bin)},
        **{"DEFAULT_MODEL": "haiku", "VERBOSE": "yes", "CLAUDE_CWD": "/somewhere"},
    }
    (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    with serving(home, environment, "--log-format", "console") as running_server:
        yield running_server


def test_the_address(moved: Server) -> None:
    assert httpx.get(f"{moved.url}/health", headers=LOCAL).status_code == 200
    assert moved.url.startswith("http://127.0.0.2:")


def test_the_cli_and_its_model(moved: Server, api: StandIn) -> None:
    """The server found the one in CLAUDE_CLI_PATH: there is none on its PATH."""
    body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{moved.base_url}/chat/completions", json=body, headers=LOCAL, timeout=PATIENCE)
    assert answer.status_code == 200
    assert "haiku" in api.last.model


def test_debugging(moved: Server) -> None:
    """Lines of the log that are for debugging: here, that somebody looked at the health."""
    seen = len(moved.output)
    httpx.get(f"{moved.url}/livez", headers=LOCAL)
    moved.wait_for_line("/livez", start=seen)
    for name in ("DEBUG_MODE", "VERBOSE"):
        for text, level in (("true", "debug"), ("1", "debug"), ("on", "debug"), ("no", "info")):
            assert load((), {name: text}, NO_FILE).settings.log_level == level


def test_what_has_no_effect_is_said(moved: Server) -> None:
    assert any(line.startswith("CLAUDE_CWD has no effect") for line in moved.output)
