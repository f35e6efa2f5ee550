"""Trouble at Anthropic, through the real CLI: told truly, whole and streamed, and made no worse."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import pytest

from claude_server.standin import Answer, ApiError, ApiRequest, Reply, Silence, StandIn
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
        # About this model, and not about the login.
        (ApiError.forbidden(), 403, "model_not_permitted", "false", 1),
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


def test_a_login_that_is_lost(each_cli: Path, tmp_path: Path) -> None:
    """A second try is refused too; the others are told so here. A new login is used by all at once."""
    home = tmp_path / "home"
    good = "sk-ant-oat01-good"
    with StandIn(keys=[good]) as api:
        environment = clean_environment(home, api.url, CLAUDE_BIN=str(each_cli))
        del environment["ANTHROPIC_API_KEY"]
        write_login(home, good)
        with serving(home, environment) as server:
            session: dict[str, Any] = {"session_id": "kept"}
            assert post(server, **session).status_code == 200
            assert post(server).status_code == 200
            assert readiness(server) == (200, "ready")
            invariants = Invariants(server)
            api.app.keys = frozenset()
            asked = len(api.turns)
            for stream in [False, True] * 4:
                answer = post(server, stream)
                error = check(answer, 503, "cli_not_ready", "false")
                assert f"`{each_cli} auth login`" in error["message"] and good not in error["message"]
                assert "set ANTHROPIC_API_KEY" in error["message"]
                assert 1 <= int(answer.headers["retry-after"]) <= 10
            # Newer CLIs look for fresh credentials and try again, each time. One more may be the next trial.
            assert asked + 2 <= len(api.turns) <= asked + 6
            assert readiness(server) == (503, "unready")
            cli = server.health()["cli"]
            assert cli["logged_in"] is False and "auth login`" in str(cli["problem"])
            invariants.check()
            fresh = "sk-ant-oat01-fresh"
            api.app.keys = frozenset({fresh})
            asked = len(api.turns)
            write_login(home, fresh)
            assert readiness(server) == (200, "ready")
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda _: post(server), range(4)))
            assert [answer.status_code for answer in answers] == [200] * 4
            assert post(server, **session).status_code == 200
            # The processes with the old one are gone, or have read the new one.
            assert len(api.turns) == asked + 5
            assert readiness(server) == (200, "ready")
            eventually(lambda: server.health()["cli"]["logged_in"], True)


def test_one_401_refuses_nobody(each_cli: Path, claude_bin: Path, tmp_path: Path) -> None:
    """As a token that is renewed gets one now and then, with many turns at a time, in sessions too."""
    home = tmp_path / "home"
    with StandIn() as api:
        settings = {"CLAUDE_BIN": str(each_cli), "CLAUDE_MAX_CONCURRENCY": "8", "CLAUDE_BASE_BACKOFF": "0.05"}
        environment = clean_environment(home, api.url, **settings)
        if each_cli != claude_bin:
            # With a login the newest one tries again by itself.
            del environment["ANTHROPIC_API_KEY"]
            write_login(home, "sk-ant-oat01-made-up")
        lock, seen, at = Lock(), 0, {20, 40}

        def respond(request: ApiRequest) -> Answer:
            nonlocal seen
            with lock:
                seen += 1
                return ApiError.unauthorized() if seen in at else Reply.of("Fine.", first_delay=0.05)

        api.responder = respond
        with serving(home, environment) as server:

            def ask(number: int) -> httpx.Response:
                more = {"session_id": f"s{number}"} if number % 12 == 5 else {}
                return post(server, number % 2 == 0, str(number), **more)

            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(ask, range(50)))
            assert [said(answer.status_code, answer.text) for answer in answers] == ["Fine."] * 50
            assert len(api.turns) == 52
            assert readiness(server) == (200, "ready")


def test_a_stale_token_is_named_and_a_server_that_does_not_retry_says_that_its_client_may(
    each_cli: Path, api: StandIn, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(each_cli), CLAUDE_MAX_RETRIES="0")
    del environment["ANTHROPIC_API_KEY"]
    environment["CLAUDE_CODE_OAUTH_TOKEN"] = "sk-ant-oat01-made-up"

    def refuse(request: ApiRequest) -> Answer:
        return ApiError(401, message="Invalid bearer token")

    good = api.responder
    with serving(home, environment) as server:
        api.responder = refuse
        answer = post(server)
        error = check(answer, 503, "cli_not_ready", "true")
        assert answer.headers["retry-after"] == "1"
        assert "the token in CLAUDE_CODE_OAUTH_TOKEN: Invalid bearer token." in error["message"]
        assert f"`{each_cli} setup-token`" in error["message"] and "API_KEY" not in error["message"]
        assert readiness(server) == (200, "ready")
        api.responder = good
        assert post(server).status_code == 200
        # Two in a row close the door, and the client that brought the second one is told.
        api.responder = refuse
        check(post(server), 503, "cli_not_ready", "true")
        time.sleep(1)
        check(post(server), 503, "cli_not_ready", "false")
        asked = len(api.turns)
        check(post(server), 503, "cli_not_ready", "false")
        assert len(api.turns) == asked


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


def test_an_api_that_cannot_be_reached(claude_bin: Path, tmp_path: Path) -> None:
    """Its address is told, which is the first thing to look at."""
    more = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_MAX_RETRIES": "0"}
    with serving(tmp_path, clean_environment(tmp_path, "http://127.0.0.1:9", **more)) as server:
        answer = post(server)
        assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "true")
        error = failure(answer.status_code, answer.text)
        assert error["code"] == "api_unreachable" and "http://127.0.0.1:9 (ANTHROPIC_BASE" in error["message"]
