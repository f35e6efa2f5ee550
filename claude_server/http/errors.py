"""Maps errors to HTTP: status, code and whether to retry. The only place that chooses a status."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from claude_server.core import errors
from claude_server.core.ports import StoreError
from claude_server.dialects.base import Failure
from claude_server.http.guard import refusal
from claude_server.telemetry.requests import annotate, request_id_of

_MAX_LOGGED_CHARS = 300
# Seconds. The openai SDK waits no longer; other clients should not either.
_MAX_RETRY_AFTER = 120.0


@dataclass(frozen=True, slots=True)
class ErrorMapping:
    """The HTTP side of one kind of error. `retry`: the value of x-should-retry."""

    status: int
    code: str
    retry: bool


_TABLE: tuple[tuple[type[errors.TurnError], ErrorMapping], ...] = (
    (errors.UnsupportedParameter, ErrorMapping(400, "unsupported_parameter", False)),
    (errors.PreviousNotFound, ErrorMapping(400, "previous_response_not_found", False)),
    (errors.InvalidRequest, ErrorMapping(400, "invalid_request_error", False)),
    (errors.PromptTooLong, ErrorMapping(400, "context_length_exceeded", False)),
    (errors.RequestTooLarge, ErrorMapping(413, "request_too_large", False)),
    (errors.ModelNotFound, ErrorMapping(404, "model_not_found", False)),
    (errors.SessionNotFound, ErrorMapping(404, "session_not_found", False)),
    (errors.ResponseNotFound, ErrorMapping(404, "response_not_found", False)),
    (errors.ConversationNotFound, ErrorMapping(404, "conversation_not_found", False)),
    (errors.SessionConflict, ErrorMapping(409, "session_conflict", False)),
    (errors.ToolsNotAllowed, ErrorMapping(403, "tools_not_allowed", False)),
    (errors.NotOperator, ErrorMapping(403, "operator_only", False)),
    (errors.UnknownServer, ErrorMapping(404, "mcp_server_not_found", False)),
    (errors.ServerFailed, ErrorMapping(502, "mcp_failed", False)),
    (errors.QueueFull, ErrorMapping(429, "queue_full", True)),
    (errors.UsageLimitReached, ErrorMapping(429, "rate_limit_exceeded", False)),
    (errors.RateLimited, ErrorMapping(429, "rate_limit_exceeded", True)),
    (errors.AccountProblem, ErrorMapping(403, "account_problem", False)),
    (errors.ModelNotPermitted, ErrorMapping(403, "model_not_permitted", False)),
    (errors.LoginLost, ErrorMapping(503, "cli_not_ready", False)),
    (errors.LoginRefused, ErrorMapping(503, "cli_not_ready", True)),
    (errors.NotReady, ErrorMapping(503, "cli_not_ready", False)),
    (errors.Overloaded, ErrorMapping(503, "overloaded", True)),
    (errors.InvalidAnswer, ErrorMapping(502, "invalid_answer", False)),
    (errors.CliFailed, ErrorMapping(502, "cli_failed", True)),
    (errors.ApiUnreachable, ErrorMapping(502, "api_unreachable", True)),
    (errors.TurnTimeout, ErrorMapping(504, "timeout", True)),
    (errors.StateFailed, ErrorMapping(503, "state_failed", True)),
    (errors.ShuttingDown, ErrorMapping(503, "shutting_down", True)),
)
_OTHER_ENDPOINTS = "This server has /v1/chat/completions, /v1/models, /health and what GET /docs lists."
_NO_V1 = "The client's base_url must end in /v1."
_TWO_V1 = "The client adds /v1 by itself: leave it out of its base_url."
# By path: what clients ask for whose settings have one of the usual mistakes.
_HINTS = {
    "/chat/completions": _NO_V1,
    "/responses": _NO_V1,
    "/models": _NO_V1,
    "/messages": _NO_V1,
    "/v1/v1/chat/completions": _TWO_V1,
    "/v1/v1/responses": _TWO_V1,
    "/v1/v1/models": _TWO_V1,
}


def error_mapping(error: errors.TurnError) -> ErrorMapping:
    """The mapping of an error. Raises LookupError for a kind that has none."""
    for kind, found in _TABLE:
        if isinstance(error, kind):
            return found
    raise LookupError(f"no status for {type(error).__name__}")


def failure_of(error: errors.TurnError) -> Failure:
    """The error as the dialects render it."""
    found = error_mapping(error)
    wait = None if error.retry_after is None else math.ceil(error.retry_after)
    return Failure(
        found.status,
        found.code,
        error.message,
        error.param,
        retry=found.retry and not error.final and (error.retry_after or 0) <= _MAX_RETRY_AFTER,
        retry_after=wait,
        details=error.details if isinstance(error, errors.InvalidRequest) else (),
    )


def log_fields(failure: Failure) -> dict[str, str]:
    """What the log tells of a failure. A sentence about the client's own request may hold words of it: there
    the field alone is named."""
    name, text = ("problem", failure.message) if failure.status >= 500 else ("param", failure.param)
    return {"outcome": failure.code, **({name: text[:_MAX_LOGGED_CHARS]} if text else {})}


def response(error: errors.TurnError, scope: Scope | None = None) -> Response:
    """The whole HTTP answer to a failed turn, in the dialect of the request whose scope it is."""
    return refusal.response(failure_of(error), scope)


def install(app: FastAPI) -> None:
    """Register handlers that give every error the same shape."""

    async def turn_failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.TurnError)
        annotate(request.scope, **log_fields(failure_of(error)))
        return response(error, request.scope)

    async def not_stored(request: Request, error: Exception) -> Response:
        why = f"The records of the sessions can't be read or written: {error}. Try again later."
        return await turn_failed(request, errors.StateFailed(why))

    async def invalid_query(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return await turn_failed(request, errors.InvalidRequest(f"'{name}': {first['msg']}.", param=name))

    async def client_gone(request: Request, error: Exception) -> Response:
        annotate(request.scope, outcome="client_gone")
        return Response(status_code=499)

    async def not_routed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = f"{request.method} {request.url.path}"
        message = str(error.detail)
        if error.status_code == 404:
            message = f"There is no {what}. {_HINTS.get(request.url.path, _OTHER_ENDPOINTS)}"
        elif error.status_code == 405:
            message = (
                f"{what} is not possible: the path takes {(error.headers or {}).get('Allow', 'others')}."
            )
        return refusal.response(Failure(error.status_code, "not_found", message), request.scope)

    async def broken(request: Request, error: Exception) -> Response:
        # The middleware that gives each answer its id doesn't see this one.
        headers = {"x-request-id": request_id_of(request.scope)}
        message = "The server made a mistake; its log says more."
        return refusal.response(Failure(500, "internal", message, headers=headers), request.scope)

    app.add_exception_handler(errors.TurnError, turn_failed)
    app.add_exception_handler(StoreError, not_stored)
    app.add_exception_handler(RequestValidationError, invalid_query)
    app.add_exception_handler(ClientDisconnect, client_gone)
    app.add_exception_handler(HTTPException, not_routed)
    app.add_exception_handler(Exception, broken)
