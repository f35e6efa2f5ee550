"""The server answers /livez while a client does its worst.

What counts is the processor time that the server uses between two passes of its event loop; how long an
answer takes depends on what else the machine does, and is only told (`pytest -rP`).
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from claude_server.standin import StandIn
from tests.fuzz.hostile import HOSTILE, Hostile
from tests.support import PROGRAM, ROOT, Server, clean_environment

WATCHED = (sys.executable, "-m", "tests.fuzz.watched")
# Seconds of processor time. Some tenths on a quiet machine; a busy one's caches and clock make more of it.
MOST = 0.5
PATIENCE = 120


@pytest.fixture(scope="module")
def watched(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    chosen = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_MAX_RETRIES": "0"}
    running = Server(home, clean_environment(home, shared_api.url, **chosen), command=WATCHED, folder=ROOT)
    yield running
    running.stop()


def longest_wait(url: str, asked: list[Future[httpx.Response]]) -> float:
    """Ask /livez until all is answered; the longest wait, in seconds."""
    waits = [0.0]
    while not all(each.done() for each in asked):
        began = time.monotonic()
        assert httpx.get(f"{url}/livez", timeout=PATIENCE).status_code == 200
        waits.append(time.monotonic() - began)
    return max(waits)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_the_loop_goes_on(watched: Server, api: StandIn, case: Hostile) -> None:
    if case.answer is not None:
        api.push(*[case.answer] * case.times)
    url, body = f"{watched.url}/v1/chat/completions", case.body()
    headers = {"content-type": "application/json"}
    httpx.get(f"{watched.url}/stalls")
    with ThreadPoolExecutor(case.times) as threads:
        asked = [
            threads.submit(httpx.post, url, content=body, headers=headers, timeout=PATIENCE)
            for _ in range(case.times)
        ]
        wait = longest_wait(watched.url, asked)
    stall = httpx.get(f"{watched.url}/stalls").json()
    print(f"{case.name}: /livez within {wait * 1000:.0f} ms, the loop was held {stall * 1000:.0f} ms")
    answers = [each.result() for each in asked]
    assert {answer.status_code for answer in answers} <= case.statuses, answers[0].text
    assert stall < MOST


def test_idle_connections_keep_nobody_out(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """More than the server has descriptors, of one client that sends nothing."""
    limited = ("prlimit", "--nofile=128:256", *PROGRAM, "--port", "0")
    environment = clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin))
    server = Server(tmp_path, environment, command=limited)
    try:
        with ExitStack() as held:
            port = urlsplit(server.url).port
            assert port is not None
            for _ in range(400):
                held.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            for _ in range(5):
                assert httpx.get(f"{server.url}/livez", timeout=PATIENCE).status_code == 200
            body = {"messages": [{"role": "user", "content": "hi"}]}
            answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
            assert answer.status_code == 200, answer.text
    finally:
        server.stop()
