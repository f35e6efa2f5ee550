"""Keys from the command line to a client, with a server that runs all the while."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from openai import APIStatusError, AuthenticationError, OpenAI, RateLimitError

from claude_server.standin import StandIn
from tests.support import PATIENCE, ROOT, clean_environment, serving


def keys(environment: dict[str, str], *words: str) -> str:
    """What `python claude_api.py keys` prints."""
    command = [sys.executable, str(ROOT / "claude_api.py"), "keys", *words]
    ran = subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_rate_limits_of_an_env_file(tmp_path: Path) -> None:
    """As the wrapper's users have it; the counts are those of real connections."""
    home = tmp_path / "home"
    home.mkdir()
    # With a key, the one that the tests' client sends: without one nothing is taken from a proxy.
    lines = (
        *("RATE_LIMIT_ENABLED=true", "RATE_LIMIT_CHAT_PER_MINUTE=1", "TRUSTED_PROXIES=127.0.0.9"),
        "API_KEY=not-used",
    )
    (home / ".env").write_text("\n".join(lines))
    environment = clean_environment(home, "http://127.0.0.1:9", CLAUDE_BIN="no-such-claude")
    with serving(home, environment) as server, server.client() as client:

        def ask(**headers: str) -> int:
            try:
                client.chat.completions.create(model="m", messages=[], extra_headers=headers)
            except APIStatusError as error:
                return error.status_code
            return 200

        assert ask() == 400
        with pytest.raises(RateLimitError) as refused:
            client.chat.completions.create(model="m", messages=[])
        assert refused.value.code == "too_many_requests"
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        # This client is no trusted proxy, and uvicorn must not believe it either.
        assert ask(**{"x-forwarded-for": "198.51.100.7"}) == 429
        trusted = httpx.HTTPTransport(local_address="127.0.0.9")
        with httpx.Client(transport=trusted, base_url=server.base_url) as proxy:
            key = {"x-api-key": "not-used"}
            forwarded = [{**key, "x-forwarded-for": f"198.51.100.{number}"} for number in (7, 8, 7)]
            found = [proxy.post("/chat/completions", json={}, headers=one).status_code for one in forwarded]
        assert found == [400, 400, 429]


def test_keys_that_come_and_go(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = clean_environment(
        home, api.url, CLAUDE_BIN=str(claude_bin), API_KEY="the-operators-own-key", LOG_LEVEL="debug"
    )
    with serving(home, environment) as server:
        assert any("api_key=one of this server's keys" in line for line in server.output)

        def ask(key: str, **more: object) -> str:
            with OpenAI(base_url=server.base_url, api_key=key, max_retries=0, timeout=PATIENCE) as client:
                answer = client.chat.completions.create(
                    model="sonnet",
                    messages=[{"role": "user", "content": "hi"}],
                    extra_body=more,
                )
            return (answer.model_extra or {})["x_claude"]["session"] or "none"

        with pytest.raises(AuthenticationError) as refused:
            ask("not-used")
        assert refused.value.code == "invalid_api_key"
        assert "keys" not in httpx.get(f"{server.url}/health").text
        ask("the-operators-own-key")
        added = keys(environment, "add", "laptop")
        assert ask(added, session_id="notes") == "created"
        assert ask(added, session_id="notes") == "resumed"
        assert ask("the-operators-own-key", session_id="notes") == "created"
        assert server.wait_for_line(r"key=laptop")
        keys(environment, "revoke", "laptop")
        with pytest.raises(AuthenticationError):
            ask(added)
    said = "\n".join(server.output)
    assert not any(secret in said for secret in (added, "the-operators-own-key", "not-used"))
