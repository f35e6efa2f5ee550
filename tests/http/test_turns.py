"""The route body that all dialects share, as far as it needs no CLI."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from claude_server.core.backend import Attempt
from claude_server.core.errors import ModelNotFound, Overloaded, RateLimited, TurnError
from claude_server.core.model import AttemptRequest, TextDelta, TurnEvent, TurnStarted
from claude_server.dialects import table
from claude_server.http.guard.keyfile import KeyFile
from claude_server.http.guard.keys import KeyLimits
from tests.dialects.toy import TOY
from tests.http.guard.application import BEARER, TOKEN, Running, running
from tests.support import IdleBackend


class Unknown:
    """A try with a model that isn't there."""

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        raise ModelNotFound("There is no such model.", param="model")
        yield

    def fail(self, error: TurnError) -> None: ...

    def progressed_at(self) -> float:
        return 0.0

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


# A dialect of another kind is one line in the table


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(table, "DIALECTS", (*table.DIALECTS, TOY))
    async with running(tmp_path, api_key=TOKEN, max_retries=0) as made:
        yield made


async def play(app: Running, headers: Mapping[str, str] = BEARER, **body: Any) -> httpx.Response:
    async with app.client() as client:
        return await client.post("/v1/toys", json={"questions": ["a", "b"], **body}, headers=headers)


async def test_each_dialect_is_served(app: Running) -> None:
    answer = await play(app, {**BEARER, "x-request-id": "mine", "x-claude-max-turns": "3"})
    assert (answer.status_code, answer.json()) == (200, {"toys": ["hello", "hello"]})
    assert answer.headers["x-ignored-params"] == "colour, x-claude-max-turns"
    assert answer.headers["toy-request-id"] == answer.headers["x-request-id"] == "mine"
    assert [request.turn.question.blocks for request in app.backend.asked] == [("a",), ("b",)]
    assert "toy-request-id" not in (await app.chat(BEARER)).headers


async def test_its_log_line(app: Running) -> None:
    with capture_logs() as logs:
        await play(app, model="haiku")
    (line,) = logs
    assert (line["toys"], line["stream"], line["model"], line["session"]) == (2, False, "haiku", False)
    assert (line["prompt_tokens"], line["outcome"], line["answered_by"]) == (6, "ok", "claude-x")


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    """(name, data) of each event."""
    parts = answer.text.removesuffix("\n\n").split("\n\n")
    lines = [part.split("\n") for part in parts]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in lines]


async def test_its_stream(app: Running) -> None:
    answer = await play(app, stream=True, questions=["a"])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["toy-request-id"] == answer.headers["x-request-id"]
    assert events(answer) == [
        ("toy.text", {"number": 1, "text": "hello", "of": 0}),
        ("toy.done", {"number": 2, "of": 0}),
        ("toy.end", {"number": 3}),
    ]


class Failing(IdleBackend):
    """Fails with `error`, after a text where `late`."""

    def __init__(self, error: TurnError, late: bool) -> None:
        super().__init__()
        self._error, self._late = error, late

    def open(self, request: AttemptRequest) -> Attempt:
        return FailingAttempt(self._error, self._late)


class FailingAttempt:
    def __init__(self, error: TurnError, late: bool) -> None:
        self._error, self._late = error, late

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        if self._late:
            yield TurnStarted("claude-x")
            yield TextDelta("he")
        raise self._error

    def fail(self, error: TurnError) -> None: ...

    def progressed_at(self) -> float:
        return 0.0

    def close(self) -> None: ...


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (Overloaded("x"), 529, "overloaded", "true"),
        (RateLimited("x", retry_after=18_000), 429, "rate_limit_exceeded", "false"),
    ],
)
async def test_its_errors(
    app: Running, error: TurnError, status: int, code: str, retry: str, stream: bool
) -> None:
    app.app.state.context.runner.backend = Failing(error, late=False)
    answer = await play(app, stream=stream)
    shown = {"oops": code, "request": answer.headers["toy-request-id"]}
    assert (answer.status_code, answer.json()) == (status, shown)
    assert answer.headers["x-should-retry"] == retry
    chat = await app.chat(BEARER, stream=stream)
    assert chat.status_code == (503 if status == 529 else 429) and chat.json()["error"]["code"] == code


async def test_an_error_in_its_stream(app: Running) -> None:
    app.app.state.context.runner.backend = Failing(Overloaded("x"), late=True)
    found = events(await play(app, stream=True, questions=["a"]))
    assert [name for name, _ in found] == ["toy.text", "toy.oops"]
    assert found[-1][1] == {"number": 2, "code": "overloaded"}


async def test_what_is_refused_before_a_turn(app: Running, tmp_path: Path) -> None:
    limited = KeyFile(tmp_path).add("a", KeyLimits(models=("haiku",)))
    for answer, status, code in (
        (await play(app, {}), 401, "invalid_api_key"),
        (await play(app, {**BEARER, "origin": "http://evil.example"}), 403, "foreign_origin"),
        (await play(app, {**BEARER, "content-type": "text/plain"}), 415, "unsupported_media_type"),
        (await play(app, {"x-api-key": limited}, model="opus", questions=[""]), 404, "model_not_found"),
        (await play(app, questions=[]), 400, "invalid_request_error"),
        (await play(app, questions=[""]), 400, "invalid_request_error"),
        (await play(app, questions=["a"], pictures=["http://127.0.0.1/"]), 200, None),
        (await app.get("/v1/toys", **BEARER), 405, "not_found"),
        (await app.get("/v1/toys/7", **BEARER), 404, "not_found"),
    ):
        assert answer.status_code == status, answer.text
        if code is not None:
            assert answer.json() == {"oops": code, "request": answer.headers["x-request-id"]}
    assert "www-authenticate" in (await play(app, {})).headers


async def test_at_a_shared_path_the_header_tells(app: Running, complaints: list[str]) -> None:
    assert (await app.get("/v1/models/none", **BEARER)).json()["error"]["code"] == "model_not_found"
    marked = await app.get("/v1/models/none", **{**BEARER, "toy-version": "1"})
    assert (marked.status_code, marked.json()["oops"]) == (404, "model_not_found")
    assert (await app.get("/v1/models", **{"toy-version": "1"})).json()["oops"] == "invalid_api_key"
    # The judge of answers knows no such dialect.
    assert [complaint.split(":")[0] for complaint in complaints] == ["/v1/models/none", "/v1/models"]
    complaints.clear()
    # A path that is one dialect's own stays that.
    wrong = await app.chat({**BEARER, "toy-version": "1"}, messages=[])
    assert wrong.json()["error"]["code"] == "invalid_request_error"


async def test_the_document_has_its_shapes(app: Running) -> None:
    document = (await app.get("/openapi.json")).json()
    post = document["paths"]["/v1/toys"]["post"]
    for place, name in (
        (post["requestBody"], "ToyRequest"),
        (post["responses"]["200"], "ToyAnswer"),
        (post["responses"]["default"], "ToyError"),
        (document["paths"]["/v1/chat/completions"]["post"]["responses"]["default"], "ErrorBody"),
    ):
        reference = {"$ref": f"#/components/schemas/{name}"}
        assert place["content"]["application/json"]["schema"] == reference
        assert name in document["components"]["schemas"]
