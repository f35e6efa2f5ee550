"""Keys from the command line to a client, with a server that runs all the while."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from openai import AuthenticationError, OpenAI

from standin import StandIn
from tests.support import PATIENCE, ROOT, clean_environment, serving


def keys(environment: dict[str, str], *words: str) -> str:
    """What `python claude_api.py keys` prints."""
    command = [sys.executable, str(ROOT / "claude_api.py"), "keys", *words]
    ran = subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_keys_that_come_and_go(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = clean_environment(
        home, api.url, CLAUDE_BIN=str(claude_bin), API_KEY="the-operators-own-key", LOG_LEVEL="debug"
    )
    with serving(home, environment) as server:
        assert any("api_key=one of this server's keys" in line for line in server.output)

        def ask(key: str, **more: object) -> str:
            client = OpenAI(base_url=server.base_url, api_key=key, max_retries=0, timeout=PATIENCE)
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
