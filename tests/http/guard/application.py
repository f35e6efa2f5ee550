"""The application as its guards see it, over a backend that answers at once or when it is let."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from claude_server.core.backend import Attempt, EngineState
from claude_server.core.errors import TurnError
from claude_server.core.model import AttemptRequest, TextDelta, TurnDone, TurnEvent, TurnStarted, Usage
from tests.support import IdleBackend

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]}
TOKEN = "a-key-that-the-operator-chose"
BEARER = {"authorization": f"Bearer {TOKEN}"}


class _Answer:
    def __init__(self, open_door: asyncio.Event) -> None:
        self._open_door = open_door

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        await self._open_door.wait()
        yield TurnStarted("claude-x")
        yield TextDelta("hello")
        yield TurnDone("end_turn", Usage(3, 0, 0, 2), "claude-x", 0.1, 20, "m1", 0.5, "warm")

    def fail(self, error: TurnError) -> None: ...

    def progressed_at(self) -> float:
        return 0.0

    def close(self) -> None: ...


class Backend(IdleBackend):
    """Answers "hello", once `door` is open; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(EngineState(ready=True, level="warm", cli_version="2.1.330"))
        self.asked: list[AttemptRequest] = []
        self.door = asyncio.Event()
        self.door.set()
        self._news = asyncio.Event()

    async def was_asked(self, times: int) -> None:
        """Wait until it was."""
        while len(self.asked) < times:
            self._news.clear()
            await self._news.wait()

    def open(self, request: AttemptRequest) -> Attempt:
        self.asked.append(request)
        self._news.set()
        return _Answer(self.door)


class Running:
    """An application and its backend, asked from an address."""

    def __init__(self, app: Any, backend: Backend) -> None:
        self.app = app
        self.backend = backend

    def client(self, address: str = "127.0.0.1", **options: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 5000))
        return httpx.AsyncClient(transport=transport, **{"base_url": "http://127.0.0.1:8765", **options})

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with self.client() as client:
            return await client.get(path, headers=headers)

    async def chat(self, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        async with self.client() as client:
            return await client.post(CHAT, json={**BODY, **more}, headers=headers)


@contextlib.asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """An application that has started, with its state in `folder`."""
    backend = Backend()
    app = create_app(Settings.model_validate({"state_dir": folder, **settings}), backend)
    async with app.router.lifespan_context(app):
        yield Running(app, backend)
