"""Trouble with the account, with the real CLI: told as what it is, at once, after one request to the API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from claude_server.standin import ApiError, StandIn, StreamError
from tests.conftest import newest_cli, older_cli
from tests.e2e.faulty import failure, readiness, said
from tests.support import PATIENCE, Server, clean_environment, serving


def write_login(home: Path) -> None:
    token = {"accessToken": "sk-ant-oat01-made-up", "refreshToken": "sk-ant-ort01-made-up"}
    oauth = {**token, "expiresAt": 4_000_000_000_000, "scopes": ["user:inference", "user:profile"]}
    file = home / ".claude" / ".credentials.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"claudeAiOauth": {**oauth, "subscriptionType": "max"}}))


@pytest.fixture(scope="module", params=["newest-key", "newest-login", "older-login"])
def charged(
    request: pytest.FixtureRequest, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that would retry, for long."""
    which, how = request.param.split("-")
    binary = newest_cli() if which == "newest" else older_cli()
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(home, shared_api.url, CLAUDE_BIN=str(binary), CLAUDE_BASE_BACKOFF="20")
    if how == "login":
        del environment["ANTHROPIC_API_KEY"]
        write_login(home)
    with serving(home, environment) as server:
        yield server


def post(server: Server, stream: bool = False) -> httpx.Response:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("trouble", "code", "advice"),
    [
        (
            ApiError(429, message="Extra usage is required for long context requests."),
            "account_problem",
            "[1m]",
        ),
        (ApiError(400, message="You're out of extra usage. Add more."), "account_problem", "settings/usage"),
        (
            ApiError(400, message="Third-party apps now draw from your extra usage, not your plan limits."),
            *("account_problem", "ANTHROPIC_API_KEY"),
        ),
        (ApiError(400, message="Your credit balance is too low."), "account_problem", "settings/billing"),
        (ApiError(402), "account_problem", "settings/billing"),
        (ApiError(400, message="This organization has been disabled."), "account_problem", "admin"),
        (
            ApiError(403, message="OAuth authentication is currently not allowed for this organization."),
            *("account_problem", "admin"),
        ),
        (ApiError(403, message="Not for this model."), "model_not_permitted", "the model 'sonnet'"),
    ],
    ids=lambda value: value.text[:30] if isinstance(value, ApiError) else None,
)
def test_what_the_account_forbids(
    charged: Server, api: StandIn, trouble: ApiError, code: str, advice: str
) -> None:
    api.push(trouble)
    answer = post(charged, stream="usage" in advice)
    error = failure(answer.status_code, answer.text)
    assert (answer.status_code, error["code"], answer.headers["x-should-retry"]) == (403, code, "false")
    assert advice in error["message"]
    assert len(api.turns) == 1
    # It is the account's, and no login is doubted for it.
    assert readiness(charged) == (200, "ready")
    shown = charged.health()["cli"]
    assert shown["logged_in"] is True
    if code == "account_problem":
        assert shown["problem"] == error["message"]
    answer = post(charged)
    assert said(answer.status_code, answer.text) == "You said: hi"


def test_a_cap_on_spending_tells_its_end(charged: Server, api: StandIn) -> None:
    """In the API's sentence only."""
    ends = int(time.time()) // 60 * 60 + 7200
    when = time.strftime("%Y-%m-%d at %H:%M UTC", time.gmtime(ends))
    words = f"You have reached your specified API usage limits. You will regain access on {when}."
    api.push(ApiError(400, message=words))
    answer = post(charged)
    error = failure(answer.status_code, answer.text)
    assert (answer.status_code, error["code"]) == (429, "rate_limit_exceeded")
    assert answer.headers["x-should-retry"] == "false" and 7000 <= int(answer.headers["retry-after"]) <= 7200
    assert len(api.turns) == 1
    assert charged.health()["cli"]["problem"] == error["message"]


def test_an_error_that_a_stream_begins_with(charged: Server, api: StandIn) -> None:
    """It has a type in place of a status, and with an older CLI its words only."""
    words = "Your credit balance is too low to access the Anthropic API."
    api.push(StreamError(chars=None, type="billing_error", message=words))
    answer = post(charged)
    assert (answer.status_code, failure(answer.status_code, answer.text)["code"]) == (403, "account_problem")
    assert len(api.turns) == 1
    api.clear()
    # This may pass, and is tried once more.
    words = "Invalid authentication credentials"
    api.push(StreamError(chars=None, type="authentication_error", message=words))
    answer = post(charged)
    assert said(answer.status_code, answer.text) == "You said: hi"
    assert len(api.turns) == 2
