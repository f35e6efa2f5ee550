"""`python -m claude_server.standin` as another process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from claude_server.standin.__main__ import main

ROOT = Path(__file__).parents[2]
BODY = {"model": "m", "max_tokens": 1000, "messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def running(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "claude_server.standin", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def said(url: str, **headers: str) -> str:
    response = httpx.post(f"{url}/v1/messages", json=BODY, headers={"x-api-key": "k", **headers})
    assert response.status_code == 200, response.text
    return str(response.json()["content"][0]["text"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_url_and_ends_with_a_sentence(number: signal.Signals) -> None:
    with running() as (url, process):
        assert url.startswith("http://127.0.0.1:")
        assert said(url) == "You said: hello"
        process.send_signal(number)
        rest, errors = process.communicate(timeout=30)
        assert (rest, errors) == ("The stand-in ends after 1 requests.\n", "")
        assert process.returncode == 0


def test_a_given_answer() -> None:
    with running(
        "--reply", "always this", "--first-delay", "0.05", "--delay", "0.05", "--chunk-chars", "6"
    ) as (
        url,
        _,
    ):
        begun = time.monotonic()
        assert said(url) == "always this"
        assert time.monotonic() - begun >= 0.1


def test_a_number_of_words() -> None:
    with running("--words", "30", "--key", "only-this", "--keep", "1") as (url, _):
        assert len(said(url, **{"x-api-key": "only-this"}).split()) == 30
        assert httpx.post(f"{url}/v1/messages", json=BODY, headers={"x-api-key": "k"}).status_code == 401
        assert [r["number"] for r in httpx.get(f"{url}/_standin/requests").json()] == [2]


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as (url, _):
        port = url.rsplit(":", 1)[1]
        assert main(["--port", port]) == 1
    assert capsys.readouterr().err == f"Port {port} can't be used: Address already in use.\n"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "ANTHROPIC_BASE_URL" in capsys.readouterr().out
