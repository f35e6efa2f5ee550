"""`--reload`, and several workers: what runs, and that nothing is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from claude_server.configuration.settings import Settings
from claude_server.standin import Reply, StandIn, default_reply
from tests.support import PATIENCE, ROOT, Server, clean_environment, wait_until_gone

NOT_SERVED = ("docs", "tests", ".*", "__pycache__")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source, to be changed."""
    return shutil.copytree(ROOT, tmp_path / "source", ignore=shutil.ignore_patterns(*NOT_SERVED))


@pytest.fixture
def reloading(source: Path, tmp_path: Path, claude_bin: Path, api: StandIn) -> Iterator[Server]:
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin))
    command = (sys.executable, str(source / "claude_api.py"), "--reload", "--port", "0")
    server = Server(tmp_path / "home", environment, command=command)
    yield server
    family = descendants(server.process.pid)
    server.stop(signal.SIGKILL)
    wait_until_gone(family)


def descendants(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def change(source: Path, version: str) -> None:
    """A change that the server's first line shows."""
    file = source / "claude_server" / "configuration" / "settings.py"
    lines = file.read_text().splitlines()
    lines = [f'VERSION = "{version}"' if line.startswith("VERSION = ") else line for line in lines]
    file.write_text("\n".join(lines) + "\n")


@dataclass
class Turn:
    """A turn at the stand-in, which answers "done" when it may."""

    answer: Future[str | None]
    go_on: threading.Event


@contextlib.contextmanager
def asking(server: Server, api: StandIn) -> Iterator[Turn]:
    """A turn that runs."""
    asked, go_on = threading.Event(), threading.Event()

    def slowly(request: object) -> Reply:
        asked.set()
        assert go_on.wait(PATIENCE)
        return Reply.of("done")

    def ask() -> str | None:
        answer = server.client().chat.completions.create(
            model="default", messages=[{"role": "user", "content": "hi"}]
        )
        return answer.choices[0].message.content

    api.responder = slowly
    try:
        with ThreadPoolExecutor() as threads:
            turn = Turn(threads.submit(ask), go_on)
            try:
                assert asked.wait(PATIENCE)
                yield turn
            finally:
                go_on.set()
    finally:
        api.responder = default_reply


def test_a_change_starts_the_server_anew(reloading: Server, source: Path, api: StandIn) -> None:
    """On the same port; then Ctrl-C at the terminal lets a turn that runs finish."""
    change(source, "0.0.2")
    assert reloading.wait_for_line(r"claude-api 0\.0\.2 is ready on (\S+)") == reloading.url
    family = descendants(reloading.process.pid)

    with asking(reloading, api) as turn:
        os.killpg(reloading.process.pid, signal.SIGINT)
        turn.go_on.set()
        assert turn.answer.result(PATIENCE) == "done"
    assert reloading.process.wait(PATIENCE) == reloading.stop() == 0
    assert reloading.output[-1] == "claude-api has stopped."
    assert "Traceback" not in "\n".join(reloading.output)
    wait_until_gone(family)


def test_a_second_signal_ends_it_at_once(reloading: Server, api: StandIn) -> None:
    """Long before the time is up that the first one leaves to turns that run."""
    family = descendants(reloading.process.pid)
    with asking(reloading, api) as turn:
        deadline = time.monotonic() + Settings().drain_timeout / 2
        while reloading.process.poll() is None:
            assert time.monotonic() < deadline
            os.killpg(reloading.process.pid, signal.SIGINT)
            time.sleep(0.1)
        assert turn.answer.exception(PATIENCE) is not None
    # A signal more than was needed may meet an interpreter that is ending.
    assert reloading.stop() in (0, -signal.SIGINT)
    wait_until_gone(family)


def test_a_mistake_waits_for_the_next_change(reloading: Server, source: Path) -> None:
    """And SIGKILL for the supervisor ends the server too."""
    good = (source / "claude_server" / "configuration" / "settings.py").read_text()
    (source / "claude_server" / "configuration" / "settings.py").write_text("def broken(\n")
    reloading.wait_for_line("SyntaxError")
    said = len(reloading.output)
    (source / "claude_server" / "configuration" / "settings.py").write_text(good)
    reloading.wait_for_line("is ready on", start=said)
    family = descendants(reloading.process.pid)
    assert family
    reloading.process.kill()
    wait_until_gone(family, PATIENCE)


def test_several_workers_are_refused(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            "claude_api:create_app",
            "--port",
            "0",
            "--workers",
            "2",
        ],
        env=clean_environment(tmp_path, "http://127.0.0.1:9"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = process.communicate(timeout=PATIENCE)
    assert "Several workers are refused" in said and "CLAUDE_MAX_CONCURRENCY" in said
    assert "Traceback" not in said
