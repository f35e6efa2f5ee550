"""What went wrong, as clients see it."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from claude_server.core import errors
from claude_server.core.errors import (
    AccountProblem,
    ApiUnreachable,
    CliFailed,
    ConversationNotFound,
    InvalidAnswer,
    InvalidRequest,
    LoginLost,
    LoginRefused,
    ModelNotFound,
    ModelNotPermitted,
    NotOperator,
    NotReady,
    Overloaded,
    PreviousNotFound,
    ProcessSilent,
    PromptTooLong,
    QueueFull,
    RateLimited,
    RequestTooLarge,
    ResponseNotFound,
    ServerFailed,
    SessionConflict,
    SessionLost,
    SessionNotFound,
    ShuttingDown,
    StateFailed,
    ThoughtsMissing,
    ThoughtsRefused,
    ToolsNotAllowed,
    TurnError,
    TurnTimeout,
    UnknownServer,
    UnsupportedParameter,
    UsageLimitReached,
)
from claude_server.core.ports import StoreError
from claude_server.http.errors import ErrorMapping, error_mapping, install, response
from claude_server.telemetry.requests import RequestLogMiddleware

REQUEST, SERVER, LIMIT = "invalid_request_error", "server_error", "rate_limit_error"


class Row(NamedTuple):
    """How a chat client sees an error."""

    status: int
    type: str
    code: str
    retry: bool


# The rows of the decisions' table that a turn can end in.
TABLE: list[tuple[type[TurnError], Row]] = [
    (InvalidRequest, Row(400, REQUEST, "invalid_request_error", False)),
    (UnsupportedParameter, Row(400, REQUEST, "unsupported_parameter", False)),
    (ModelNotFound, Row(404, REQUEST, "model_not_found", False)),
    (ToolsNotAllowed, Row(403, "permission_error", "tools_not_allowed", False)),
    (NotOperator, Row(403, "permission_error", "operator_only", False)),
    (UnknownServer, Row(404, REQUEST, "mcp_server_not_found", False)),
    (ServerFailed, Row(502, SERVER, "mcp_failed", False)),
    (PreviousNotFound, Row(400, REQUEST, "previous_response_not_found", False)),
    (ResponseNotFound, Row(404, REQUEST, "response_not_found", False)),
    (ConversationNotFound, Row(404, REQUEST, "conversation_not_found", False)),
    (SessionNotFound, Row(404, REQUEST, "session_not_found", False)),
    (SessionConflict, Row(409, REQUEST, "session_conflict", False)),
    (ThoughtsRefused, Row(400, REQUEST, "invalid_request_error", False)),
    (ThoughtsMissing, Row(400, REQUEST, "invalid_request_error", False)),
    (RequestTooLarge, Row(413, REQUEST, "request_too_large", False)),
    (PromptTooLong, Row(400, REQUEST, "context_length_exceeded", False)),
    (QueueFull, Row(429, LIMIT, "queue_full", True)),
    (UsageLimitReached, Row(429, LIMIT, "rate_limit_exceeded", False)),
    (RateLimited, Row(429, LIMIT, "rate_limit_exceeded", True)),
    (AccountProblem, Row(403, "permission_error", "account_problem", False)),
    (ModelNotPermitted, Row(403, "permission_error", "model_not_permitted", False)),
    (LoginLost, Row(503, SERVER, "cli_not_ready", False)),
    (LoginRefused, Row(503, SERVER, "cli_not_ready", True)),
    (NotReady, Row(503, SERVER, "cli_not_ready", False)),
    (Overloaded, Row(503, SERVER, "overloaded", True)),
    (InvalidAnswer, Row(502, SERVER, "invalid_answer", False)),
    (CliFailed, Row(502, SERVER, "cli_failed", True)),
    (ApiUnreachable, Row(502, SERVER, "api_unreachable", True)),
    (TurnTimeout, Row(504, SERVER, "timeout", True)),
    (StateFailed, Row(503, SERVER, "state_failed", True)),
    (ShuttingDown, Row(503, SERVER, "shutting_down", True)),
]
EACH = pytest.mark.parametrize(("kind", "expected"), TABLE, ids=[kind.__name__ for kind, _ in TABLE])


def sent(error: TurnError) -> tuple[int, dict[str, str], Any]:
    made = response(error)
    headers = {k: v for k, v in made.headers.items() if k != "content-length"}
    return made.status_code, headers, json.loads(bytes(made.body))


def test_the_table_has_every_error_that_a_client_can_see() -> None:
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TurnError)}
    assert kinds - {TurnError, SessionLost, ProcessSilent} == {kind for kind, _ in TABLE}


@EACH
def test_statuses(kind: type[TurnError], expected: Row) -> None:
    assert error_mapping(kind("x")) == ErrorMapping(expected.status, expected.code, expected.retry)


@EACH
def test_bodies_have_all_four_keys(kind: type[TurnError], expected: Row) -> None:
    error = {"message": "why", "type": expected.type, "param": "p", "code": expected.code}
    assert sent(kind("why", param="p"))[2] == {"error": error}
    assert sent(kind("why"))[2] == {"error": {**error, "param": None}}


@EACH
def test_responses(kind: type[TurnError], expected: Row) -> None:
    headers = {"content-type": "application/json", "x-should-retry": "true" if expected.retry else "false"}
    error = {"message": "why", "type": expected.type, "param": None, "code": expected.code}
    assert sent(kind("why")) == (expected.status, headers, {"error": error})


def test_an_error_that_no_client_may_see() -> None:
    with pytest.raises(LookupError, match="no status for SessionLost"):
        error_mapping(SessionLost("x"))


@pytest.mark.parametrize(
    ("seconds", "header", "retry"),
    [
        (0, "0", "true"),
        (0.001, "1", "true"),
        (1, "1", "true"),
        (1.5, "2", "true"),
        (120, "120", "true"),
        (120.5, "121", "false"),
        (18_000, "18000", "false"),
    ],
)
def test_when_to_come_back(seconds: float, header: str, retry: str) -> None:
    _, headers, _ = sent(RateLimited("x", retry_after=seconds))
    assert (headers["retry-after"], headers["x-should-retry"]) == (header, retry)


def test_a_time_to_come_back_makes_nothing_retryable() -> None:
    _, headers, _ = sent(NotReady("x", retry_after=1))
    assert (headers["retry-after"], headers["x-should-retry"]) == ("1", "false")


# In an application


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient, None]:
    app = FastAPI()
    install(app)
    app.add_middleware(RequestLogMiddleware)

    @app.get("/turn")
    async def turn() -> None:
        raise RateLimited("slow down", retry_after=2.5)

    @app.get("/bug")
    async def bug() -> None:
        raise KeyError("SECRET")

    @app.get("/records")
    async def records() -> None:
        raise StoreError("disk I/O error")

    @app.get("/gone")
    async def gone() -> None:
        raise ClientDisconnect

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


async def test_a_failed_turn(client: httpx.AsyncClient) -> None:
    answer = await client.get("/turn")
    assert answer.status_code == 429
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("3", "true")
    assert answer.json()["error"]["message"] == "slow down"


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        (
            *("GET", "/v1/embeddings", 404),
            "There is no GET /v1/embeddings. This server has /v1/chat/completions, /v1/models, "
            "/health and what GET /docs lists.",
        ),
        (
            *("POST", "/chat/completions", 404),
            "There is no POST /chat/completions. The client's base_url must end in /v1.",
        ),
        ("POST", "/turn", 405, "POST /turn is not possible: the path takes GET."),
    ],
)
async def test_no_such_route(
    client: httpx.AsyncClient, method: str, path: str, status: int, message: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (status, "false")
    assert answer.json() == {
        "error": {"message": message, "type": REQUEST, "param": None, "code": "not_found"}
    }


async def test_another_http_error_keeps_its_words(client: httpx.AsyncClient) -> None:
    answer = await client.get("/teapot")
    assert (answer.status_code, answer.json()["error"]["message"]) == (418, "short and stout")
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_records_that_cant_be_used(client: httpx.AsyncClient) -> None:
    answer = await client.get("/records")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
    error = answer.json()["error"]
    assert error["code"] == "state_failed" and "disk I/O error" in error["message"]


async def test_a_client_that_left_while_it_sent_its_body_is_no_mistake(client: httpx.AsyncClient) -> None:
    """On every route that takes one."""
    answer = await client.get("/gone")
    assert (answer.status_code, answer.content) == (499, b"")


async def test_a_mistake_of_ours_tells_nothing(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        answer = await client.get("/bug", headers={"x-request-id": "mine-1"})
    # By its id it is found in the log, as what it is.
    assert answer.headers["x-request-id"] == "mine-1"
    (line,) = logs
    assert (line["id"], line["status"], line["outcome"]) == ("mine-1", 500, "internal_error")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (500, "false")
    assert answer.json() == {
        "error": {
            "message": "The server made a mistake; its log says more.",
            "type": SERVER,
            "param": None,
            "code": "internal",
        }
    }
