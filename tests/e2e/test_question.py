"""The question about a key, at a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from claude_server.http.guard.keyfile import KeyFile
from tests.invariants import eventually
from tests.support import PATIENCE, ROOT, clean_environment

ASKED = r"Protect it with a key\? \(y/N\): "
READY = r"is ready on (\S+)"
STOPPED = "claude-api has stopped"


class Terminal:
    """A server that believes to be at a terminal."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        home.mkdir(exist_ok=True)
        self._screen, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "claude_api.py"), "--port", "0", *arguments],
            env=clean_environment(home, "http://127.0.0.1:9", CLAUDE_BIN="no-such-claude", **environment),
            cwd=home,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until something matches."""
        until = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.shown)) is None:
            ready, _, _ = select.select([self._screen], [], [], max(0, until - time.monotonic()))
            assert ready, f"no {pattern!r} in:\n{self.shown}"
            try:
                self.shown += os.read(self._screen, 4096).decode()
            except OSError:
                raise AssertionError(f"it ended without {pattern!r}:\n{self.shown}") from None
        return found

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)
        os.close(self._screen)


@contextlib.contextmanager
def at_a_terminal(home: Path, *arguments: str, **environment: str) -> Iterator[Terminal]:
    terminal = Terminal(home, *arguments, **environment)
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize("answer", ["\n", "\x04"])
def test_no(tmp_path: Path, answer: str) -> None:
    with at_a_terminal(tmp_path) as terminal:
        terminal.wait_for(ASKED)
        terminal.type(answer)
        url = terminal.wait_for(READY)[1]
        assert "cli" in httpx.get(f"{url}/health").json()
    assert not (tmp_path / "state" / "keys.json").exists()


def test_yes(tmp_path: Path) -> None:
    with at_a_terminal(tmp_path, "--host", "127.0.0.1") as terminal:
        terminal.wait_for(ASKED)
        terminal.type(" Y\n")
        url = terminal.wait_for(READY)[1]
        (token,) = re.findall(r"sk-capi-[\w-]{43}", terminal.shown)
        assert [key.name for key in KeyFile(tmp_path / "state").load()] == ["terminal"]
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"x-api-key": token}).status_code == 200
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for(STOPPED)
    assert terminal.shown.count(token) == 1
    # Asked once: there is a key now.
    with at_a_terminal(tmp_path) as again:
        again.wait_for(READY)
        assert not re.search(ASKED, again.shown)


def test_a_key_at_the_terminal_opens_other_addresses(tmp_path: Path) -> None:
    """What would be refused without one: asked first. This machine hasn't got it."""
    with at_a_terminal(tmp_path, "--host", "192.0.2.1") as terminal:
        terminal.wait_for(rf"hold only with one\.\s+{ASKED}")
        terminal.type("y\n")
        terminal.wait_for(r"Can't listen on 192\.0\.2\.1")
        assert terminal.process.wait(PATIENCE) == 2


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("--no-prompt",), {}), ((), {"MAKELEVEL": "1"}), ((), {"API_KEY": "the-operators-own-key"})],
)
def test_nobody_is_asked(tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    with at_a_terminal(tmp_path, *arguments, **environment) as terminal:
        terminal.wait_for(READY)
        assert not re.search(ASKED, terminal.shown)


def test_leaving_at_the_question(tmp_path: Path) -> None:
    with at_a_terminal(tmp_path) as terminal:
        terminal.wait_for(ASKED)
        # Between the question and the reading of the answer Python would note the signal, and read on.
        eventually(psutil.Process(terminal.process.pid).status, "sleeping")
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("claude-api was not started")
        assert terminal.process.wait(PATIENCE) == 130
    assert "Traceback" not in terminal.shown
