"""Whatever the OpenAPI document allows, and what it doesn't: no server error, and errors in one shape.

On an engine that answers at once; the same cases in every run.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from claude_server.core.backend import EngineState
from claude_server.core.errors import TurnError
from claude_server.core.model import AttemptRequest, TextDelta, TurnDone, TurnEvent, TurnStarted, Usage
from tests.support import IdleBackend

FUZZED = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))


class Echo:
    """An attempt that answers at once."""

    def __init__(self) -> None:
        done = TurnDone("end_turn", Usage(3, 0, 0, 2), "claude-x", 0.1, 20, "mark", 0.5, "fake")
        self._events: Iterator[TurnEvent] = iter([TurnStarted("claude-x"), TextDelta("fine"), done])

    def __aiter__(self) -> AsyncIterator[TurnEvent]:
        return self

    async def __anext__(self) -> TurnEvent:
        for event in self._events:
            return event
        raise StopAsyncIteration

    def fail(self, error: TurnError) -> None:
        raise AssertionError("it answers at once")

    def progressed_at(self) -> float:
        return 0.0

    def close(self) -> None: ...


class EchoBackend(IdleBackend):
    """An engine of such attempts."""

    state = EngineState(ready=True, level="fake")

    def open(self, request: AttemptRequest) -> Echo:
        return Echo()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application on a port, in a thread."""
    app = create_app(Settings(state_dir=tmp_path_factory.mktemp("state")), EchoBackend())
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def check(case: Case[Any]) -> None:
    """No 5xx; a good answer fits its schema; a refusal is JSON with the keys of its dialect.

    The engine answers in prose: where a form was asked for, that it isn't kept is the right answer.
    """
    answer = case.call()
    formless = answer.status_code == 502 and "invalid_answer" in answer.text
    checks = [response_schema_conformance] if formless else [not_a_server_error, response_schema_conformance]
    case.validate_response(answer, checks)
    if formless:
        assert isinstance(case.body, dict) and "response_format" in case.body, answer.text
    if answer.status_code >= 400:
        refusal = json.loads(answer.content)
        error = refusal["error"]
        # Anthropic's has a type of its own around the error.
        keys = {"message", "type"} if refusal.get("type") == "error" else {"message", "type", "param", "code"}
        assert set(error) >= keys, error
        assert error["message"], error


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_is_sent(url: str, mode: GenerationMode) -> None:
    """Every operation of the document, with what fits it and with what doesn't."""
    seen = set()
    for found in openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(found, Ok), found.err()
        operation = found.ok()
        try:
            seed(1)(FUZZED(given(operation.as_strategy(generation_mode=mode))(check)))()
        except Unsatisfiable:
            # An operation that takes nothing can't be asked wrongly.
            assert mode is GenerationMode.NEGATIVE
        seen.add(operation.label)
    assert {"POST /v1/chat/completions", "GET /v1/models", "GET /health"} <= seen
