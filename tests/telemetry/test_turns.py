"""What the log line of a request says of its turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from claude_server.core.backend import Attempt
from claude_server.core.errors import CliFailed, TurnError
from claude_server.core.model import (
    AttemptRequest,
    TextDelta,
    TurnDone,
    TurnEvent,
    TurnRequest,
    TurnStarted,
    Usage,
)
from claude_server.core.model import Message as Said
from claude_server.core.ports import TurnEnd, TurnOutcome
from claude_server.telemetry.turns import TurnLog
from tests.support import IdleBackend

DONE = TurnDone("end_turn", Usage(10, 20, 30, 4), "claude-x", 0.1, 20)
NUMBERS = ("prompt_tokens", "cached_tokens", "completion_tokens", "retries", "cost_usd", "answered_by")


class Answer:
    def __init__(self, *, fails: bool) -> None:
        self._fails = fails

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        if self._fails:
            raise CliFailed("It broke.")
        for event in (TurnStarted("claude-x"), TextDelta("hello"), DONE):
            yield event

    def fail(self, error: TurnError) -> None: ...

    def progressed_at(self) -> float:
        return 0.0

    def close(self) -> None: ...


class Engine(IdleBackend):
    """Answers; its first `broken` tries fail."""

    def __init__(self, broken: int = 0) -> None:
        super().__init__()
        self.broken = broken

    def open(self, request: AttemptRequest) -> Attempt:
        self.broken -= 1
        return Answer(fails=self.broken >= 0)


async def line_of(tmp_path: Path, engine: Engine, **fields: Any) -> dict[str, Any]:
    """The log line of a chat."""
    app = create_app(Settings(state_dir=tmp_path, max_retries=1, base_backoff=0.01), engine)
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}], **fields}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        with capture_logs() as logs:
            await client.post("/v1/chat/completions", json=body)
    (line,) = (dict(line) for line in logs if line["event"] == "request")
    return line


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("n", "broken"), [(1, 0), (1, 1), (3, 0)])
async def test_the_numbers_of_answers_are_added_up(tmp_path: Path, stream: bool, n: int, broken: int) -> None:
    line = await line_of(tmp_path, Engine(broken), stream=stream, n=n)
    assert [line[name] for name in NUMBERS] == [60 * n, 20 * n, 4 * n, broken, round(0.1 * n, 6), "claude-x"]
    assert (line["outcome"], line["status"]) == ("ok", 200)
    assert set(line) == {
        *(
            "event",
            "log_level",
            "id",
            "method",
            "path",
            "model",
            "stream",
            "session",
            "status",
            "outcome",
            "ms",
        ),
        *NUMBERS,
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_has_no_numbers(tmp_path: Path, stream: bool) -> None:
    line = await line_of(tmp_path, Engine(broken=2), stream=stream)
    assert line["outcome"] == "cli_failed" and not set(line) & set(NUMBERS)


def test_a_turn_of_no_request() -> None:
    turn = TurnRequest("t", Said("user", ("hi",)))
    TurnLog().ended(turn, TurnEnd(TurnOutcome.ANSWERED, 1.0, 0, DONE))
