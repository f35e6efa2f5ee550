"""Trouble at Anthropic, through the real CLI: told truly, whole and streamed, and made no worse."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from standin import Answer, ApiError, Reply, Silence, StandIn
from tests.e2e.faulty import failure, readiness, said
from tests.invariants import Invariants, eventually
from tests.support import PATIENCE, Server, clean_environment, serving

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def post(server: Server, stream: bool = False, text: str = "hi", **more: Any) -> httpx.Response:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": text}], "stream": stream, **more}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)


@pytest.fixture(scope="module")
def subscribed(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Invariants]]:
    """A server whose CLI uses a subscription's token, made up; it retries once, quickly."""
    home = tmp_path_factory.mktemp("home")
    more = {"CLAUDE_MAX_RETRIES": "1", "CLAUDE_BASE_BACKOFF": "0.05", "CLAUDE_BIN": str(claude_bin)}
    environment = clean_environment(home, shared_api.url, **more)
    del environment["ANTHROPIC_API_KEY"]
    environment["CLAUDE_CODE_OAUTH_TOKEN"] = "sk-ant-oat01-made-up"
    with serving(home, environment) as server:
        assert post(server).status_code == 200
        yield server, Invariants(server)


@pytest.fixture
def server(subscribed: tuple[Server, Invariants], api: StandIn) -> Iterator[Server]:
    running, invariants = subscribed
    yield running
    invariants.check()
    api.clear()
    assert post(running).status_code == 200
    invariants.check()


def check(answer: httpx.Response, status: int, code: str, retry: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    error = failure(status, answer.text)
    assert error["code"] == code
    assert answer.headers["x-should-retry"] == retry
    return error


@STREAMED
def test_a_limit_that_lasts(server: Server, api: StandIn, stream: bool) -> None:
    """Told with its end, and not tried again; a client that waited would wait for nothing."""
    resets_at = int(time.time()) + 3600
    api.push(ApiError.subscription_limit(resets_at=resets_at))
    answer = post(server, stream)
    error = check(answer, 429, "rate_limit_exceeded", "false")
    assert 3500 <= int(answer.headers["retry-after"]) <= 3600
    assert time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(resets_at)) in error["message"]
    assert len(api.turns) == 1


@STREAMED
def test_a_limit_that_is_soon_over(server: Server, api: StandIn, stream: bool) -> None:
    """Up to a minute it is waited for, and the answer comes."""
    api.push(ApiError.subscription_limit(resets_at=int(time.time()) + 2), Reply.of("After it."))
    answer = post(server, stream)
    assert said(answer.status_code, answer.text) == "After it."
    first, second = api.turns
    assert second.at - first.at >= 0.9


@STREAMED
@pytest.mark.parametrize(
    ("trouble", "status", "code", "retry", "requests"),
    [
        (ApiError(429), 429, "rate_limit_exceeded", "true", 2),
        (ApiError.overloaded(), 503, "overloaded", "true", 2),
        (ApiError.server_error(), 503, "overloaded", "true", 2),
        # The CLI itself asks twice before it believes that.
        (ApiError.model_not_found("sonnet"), 404, "model_not_found", "false", 2),
        (ApiError.prompt_too_long(), 400, "context_length_exceeded", "false", 1),
        (ApiError.too_large(), 413, "request_too_large", "false", 1),
        (ApiError.bad_request("tools.0: something odd"), 400, "invalid_request_error", "false", 1),
        (ApiError.forbidden(), 503, "cli_not_ready", "false", 1),
    ],
    ids=lambda value: str(value.status) if isinstance(value, ApiError) else None,
)
def test_trouble(
    server: Server,
    api: StandIn,
    trouble: Answer,
    status: int,
    code: str,
    retry: str,
    requests: int,
    stream: bool,
) -> None:
    api.push(*[trouble] * requests)
    check(post(server, stream), status, code, retry)
    assert len(api.turns) == requests
    # None of it is about the server.
    assert readiness(server) == (200, "ready")


@STREAMED
def test_a_prompt_that_the_cli_finds_too_long(server: Server, api: StandIn, stream: bool) -> None:
    """It doesn't ask for it."""
    check(post(server, stream, "word " * 1_000_000), 400, "context_length_exceeded", "false")
    assert api.turns == []


def write_login(home: Path, token: str) -> None:
    """The CLI's own file of credentials, with a made-up token."""
    oauth = {
        "accessToken": token,
        "refreshToken": "sk-ant-ort01-made-up",
        "expiresAt": 4_000_000_000_000,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
    }
    file = home / ".claude" / ".credentials.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"claudeAiOauth": oauth}))


def test_a_login_that_is_lost(claude_bin: Path, tmp_path: Path) -> None:
    """One request is refused by the API; the others are told so here. A new login is noticed at once."""
    home = tmp_path / "home"
    good = "sk-ant-oat01-good"
    with StandIn(keys=[good]) as api:
        environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin))
        del environment["ANTHROPIC_API_KEY"]
        write_login(home, good)
        with serving(home, environment) as server:
            assert post(server).status_code == 200
            assert readiness(server) == (200, "ready")
            invariants = Invariants(server)
            api.app.keys = frozenset()
            asked = len(api.turns)
            for stream in [False, True] * 10:
                error = check(post(server, stream), 503, "cli_not_ready", "false")
                assert "claude auth login" in error["message"] and good not in error["message"]
            # The CLI looks for fresh credentials and tries again, once.
            assert len(api.turns) <= asked + 2
            assert readiness(server) == (503, "unready")
            cli = server.health()["cli"]
            assert cli["logged_in"] is False and "claude auth login" in str(cli["problem"])
            invariants.check()
            fresh = "sk-ant-oat01-fresh"
            api.app.keys = frozenset({fresh})
            write_login(home, fresh)
            assert readiness(server) == (200, "ready")
            answer = post(server)
            assert answer.status_code == 200, answer.text
            assert readiness(server) == (200, "ready")
            eventually(lambda: server.health()["cli"]["logged_in"], True)


def test_the_cli_is_killed_mid_stream(server: Server, api: StandIn) -> None:
    """The real one: an error event, no end, and no second try."""
    api.push(Silence(30, chars=8))
    seen = ""
    url = f"{server.base_url}/chat/completions"
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with httpx.stream("POST", url, json=body, timeout=PATIENCE) as answer:
        for piece in answer.iter_text():
            if '"content":"' in piece and not seen:
                for process in server.claude_processes():
                    os.kill(process, signal.SIGKILL)
            seen += piece
    assert failure(answer.status_code, seen)["code"] == "cli_failed"
    assert len(api.turns) == 1
