"""POST /v1/chat/completions, as far as it needs no CLI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from structlog.testing import capture_logs

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from claude_server.core.errors import ModelNotFound, TurnError
from claude_server.core.model import Attempt, AttemptRequest, TurnEvent
from tests.support import IdleBackend


class Unknown:
    """A try with a model that isn't there."""

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        raise ModelNotFound("There is no such model.", param="model")
        yield

    def fail(self, error: TurnError) -> None: ...

    def close(self) -> None: ...


class Refusing(IdleBackend):
    def open(self, request: AttemptRequest) -> Attempt:
        return Unknown()


async def test_the_log_takes_no_name_of_any_length(tmp_path: Path) -> None:
    app = create_app(Settings(state_dir=tmp_path), Refusing())
    body = {"model": "x" * 1_000_000, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        with capture_logs() as logs:
            answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 404
    (line,) = logs
    assert (line["model"], line["outcome"]) == ("x" * 100, "model_not_found")
