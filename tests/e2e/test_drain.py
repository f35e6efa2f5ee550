"""Stopping the server: what runs is finished or told, nothing new begins, nothing is left."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.faulty import Call, readiness, running, serving_fake, write_fake
from tests.fakes.fake_cli import ASKED
from tests.invariants import eventually
from tests.support import PATIENCE, Server, clean_environment, wait_until_gone


@contextmanager
def stopping(tmp_path: Path, **settings: str) -> Iterator[Server]:
    """A server that a test stops; in the end it is gone, and so is everything that it started."""
    with serving_fake(tmp_path, ASKED, CLAUDE_MAX_RETRIES="0", **settings) as (server, _):
        children = server.claude_processes()
        yield server
        assert server.process.wait(PATIENCE) == 0
        wait_until_gone([*children, *server.claude_processes()])
        assert server.claude_processes() == []
        assert server.stop() == 0
        assert server.output[-1] == "claude-api has stopped."
        assert "Traceback" not in "\n".join(server.output)


def signalled(server: Server, sign: signal.Signals) -> None:
    """Send it, and wait until the server has taken it."""
    server.process.send_signal(sign)
    server.wait_for_line(r"\[info +\] shutting down")


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_running_turns_finish_and_new_ones_are_refused(tmp_path: Path, sign: signal.Signals) -> None:
    with stopping(tmp_path) as server:
        assert readiness(server) == (200, "ready")
        calls = [Call(server, "goes on when told", stream) for stream in (True, False)]
        assert calls[0].begun.wait(PATIENCE)
        running(server, 2)
        signalled(server, sign)
        assert readiness(server) == (503, "draining")
        assert httpx.get(f"{server.url}/livez").json() == {"status": "alive", "service": "claude-api"}
        for stream in (True, False):
            refused = Call(server, "good", stream)
            assert refused.error["code"] == "shutting_down" and refused.status == 503
            assert refused.headers["x-should-retry"] == "true" and int(refused.headers["retry-after"]) > 0
        (server.home / "go-on").touch()
        assert [call.answer for call in calls] == [f"half of{call.word}" for call in calls]


def test_what_takes_too_long_is_told(tmp_path: Path) -> None:
    """A stream that has begun, one that hasn't, a whole answer, and requests that wait for a slot."""
    with stopping(tmp_path, DRAIN_TIMEOUT="0.5", CLAUDE_MAX_CONCURRENCY="3") as server:
        begun = Call(server, "stalls")
        assert begun.begun.wait(PATIENCE)
        others = [Call(server, "silent"), Call(server, "silent", stream=False)]
        running(server, 3)
        others += [Call(server, "good"), Call(server, "good", stream=False)]
        running(server, 3, waiting=2)
        signalled(server, signal.SIGTERM)
        assert begun.error["code"] == "shutting_down" and begun.status == 200
        for call in others:
            assert call.error["code"] == "shutting_down" and call.status == 503


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with stopping(tmp_path) as server:
        begun, silent = Call(server, "ignores SIGTERM"), Call(server, "silent", stream=False)
        assert begun.begun.wait(PATIENCE)
        running(server, 2)
        signalled(server, signal.SIGINT)
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert begun.error["code"] == silent.error["code"] == "shutting_down"
        assert server.process.wait(PATIENCE) == 0
        # Far from the 30 s that the turns would have had.
        assert time.monotonic() - began < 10


def test_a_half_sent_request_holds_nothing_up(tmp_path: Path) -> None:
    with stopping(tmp_path) as server, socket.create_connection(("127.0.0.1", port_of(server))) as half:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        half.sendall(head + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        assert readiness(server) == (200, "ready")
        signalled(server, signal.SIGTERM)
        assert half.recv(100) == b""


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def test_a_stop_while_the_cli_is_looked_at(tmp_path: Path) -> None:
    """The start waits for a CLI that never answers; a signal ends it, and the CLI."""
    fake, home = tmp_path / "claude", tmp_path / "home"
    write_fake(fake, "hangs at the start")
    environment = clean_environment(home, "http://127.0.0.1:9", CLAUDE_BIN=str(fake), CLAUDE_ENGINE="spawn")
    server = Server(home, environment, wait=False)
    eventually(lambda: len(server.claude_processes()), 1)
    assert server.stop(signal.SIGTERM) == 0
    assert server.claude_processes() == []
    assert server.output[-1] == "claude-api has stopped." and "Traceback" not in "\n".join(server.output)
