"""The demos, run as a user runs them: a process with an environment built from nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_server.standin import Reply, StandIn, default_reply
from lab.demo import answer
from tests.support import BASE_PATH, PATIENCE, ROOT, Server


@pytest.fixture
def api(api: StandIn) -> Iterator[StandIn]:
    """The stand-in with the answers of `make demo`, without their delays."""
    api.responder = lambda request: Reply.of(answer(request.conversation), chunk_chars=6)
    yield api
    api.responder = default_reply


class Demos:
    """Starts demos. `url`: the base_url of the server, or None."""

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.environment = {"PATH": BASE_PATH, "HOME": str(home), "LANG": "C.UTF-8"}
        self.url = url

    def start(self, name: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """The demo as a process whose output is piped. `options` are Popen's."""
        given = ("--base-url", self.url) if self.url else ()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, str(ROOT / f"{name}.py"), *given, *arguments],
            **{"env": self.environment, "cwd": self.environment["HOME"], "text": True, **pipes, **options},
        )

    def run(self, name: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """The demo to its end, with `typed` as its input."""
        with self.start(name, *arguments) as process:
            try:
                out, errors = process.communicate(typed, PATIENCE)
            finally:
                process.kill()
        return subprocess.CompletedProcess(name, process.returncode, out, errors)

    def good(self, name: str, *arguments: str, typed: str = "") -> list[str]:
        """The lines that a demo printed that went well."""
        ended = self.run(name, *arguments, typed=typed)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.splitlines()

    def one_turn(self, name: str) -> list[str]:
        """The lines of a demo's shortest run."""
        short = ("-n", "1", "--serial", "0") if name == "parallel_client_demo" else ("--chat",)
        return self.good(name, *short, typed="hi\n")


@pytest.fixture
def demos(tmp_path: Path, server: Server, api: StandIn) -> Demos:
    """Demos on the real server with the real CLI, and an empty `api` behind it."""
    return Demos(tmp_path, server.base_url)


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Demos]:
    """Demos for a port where nobody listens, and nobody can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Demos(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
