"""How a request is refused, in its own dialect; and the refusals of the guards, who come before any route."""

from __future__ import annotations

import math
from dataclasses import replace

from starlette.responses import Response
from starlette.types import Scope

from claude_server.command_line import command
from claude_server.dialects.base import Failure
from claude_server.dialects.table import dialect_of
from claude_server.telemetry.requests import request_id_of


def response(failure: Failure, scope: Scope | None = None) -> Response:
    """The HTTP answer to a failure, in the dialect of the request whose scope it is; in the first one where
    no request was understood."""
    dialect = dialect_of()
    if scope is not None:
        dialect = dialect_of(scope["path"], scope["headers"])
        failure = replace(failure, request_id=request_id_of(scope))
    headers = {**failure.headers, "x-should-retry": "true" if failure.retry else "false"}
    if failure.retry_after is not None:
        headers["retry-after"] = str(failure.retry_after)
    status = dialect.statuses.get(failure.code, failure.status)
    return Response(dialect.error(failure), status, headers, "application/json")


def repeated_header(name: str) -> Failure:
    """400: the header may come once only."""
    message = f"The request has more than one '{name}' header: send one."
    return Failure(400, "invalid_request_error", message)


def _add_key() -> str:
    return f"'{command('keys add NAME')}'"


def foreign_host(host: str) -> Failure:
    """421: a name that isn't this machine's; a page had it rebound."""
    message = (
        f"The Host '{host[:100]}' is not served while no key is set: use 127.0.0.1 or localhost (from a "
        f"container host.docker.internal), or let the operator add a key with {_add_key()}."
    )
    return Failure(421, "foreign_origin", message)


def foreign_client() -> Failure:
    """403: from elsewhere, while no key is set."""
    message = (
        f"Only this machine may use a server without keys: the operator can add one with {_add_key()}. A "
        "container counts as another machine."
    )
    return Failure(403, "foreign_origin", message)


def behind_proxy(header: str) -> Failure:
    """403: a proxy passed it on, while no key is set."""
    message = (
        f"The request has the header '{header}', so it came through a proxy, perhaps from another machine; "
        f"only this machine may use a server without keys. The operator can add one with {_add_key()}."
    )
    return Failure(403, "foreign_origin", message)


def foreign_origin(origin: str) -> Failure:
    """403: a web page that the operator didn't name."""
    can_be_named = "its operator can name them in CORS_ORIGINS."
    if origin == "null":
        can_be_named = "CORS_ORIGINS can't name a page without an origin: a file, or a frame in a sandbox."
    message = f"Web pages of '{origin[:100]}' may not use this server: {can_be_named}"
    return Failure(403, "foreign_origin", message)


def no_key() -> Failure:
    """401: the same for a key that is missing, wrong or revoked, on every path."""
    message = (
        "A valid API key is needed: send it as 'Authorization: Bearer KEY' (OpenAI clients: api_key) or as "
        "'x-api-key: KEY'."
    )
    return Failure(401, "invalid_api_key", message, headers={"www-authenticate": "Bearer"})


def key_busy(concurrency: int) -> Failure:
    """429: the key has as many requests running as it may."""
    message = f"This API key may have {concurrency} requests at a time: wait for one to end."
    return Failure(429, "concurrency_limit_exceeded", message, retry=True, retry_after=1)


def too_many(seconds: float) -> Failure:
    """429: the window is used up; `seconds` are left of it."""
    left = max(1, math.ceil(seconds))
    message = f"Rate limit exceeded. Try again in {left} seconds."
    return Failure(429, "too_many_requests", message, retry=True, retry_after=left)


def not_json(kind: str) -> Failure:
    """415: nothing else is read."""
    what = f"is '{kind[:100]}'" if kind else "isn't told"
    message = f"The body's content type {what}: send JSON, with the header 'Content-Type: application/json'."
    return Failure(415, "unsupported_media_type", message)


def malformed() -> Failure:
    """400: no HTTP."""
    return Failure(400, "invalid_request_error", "This is not a valid HTTP request.")


def late_head(seconds: float) -> Failure:
    """408: the client may have been slow for once."""
    message = f"The request's headers did not arrive within {seconds:g} s."
    return Failure(408, "request_timeout", message, retry=True)


def too_many_connections() -> Failure:
    """503: all of them are at work."""
    message = "The server has too many connections at work: try again later."
    return Failure(503, "too_many_connections", message, retry=True, retry_after=1)


def large_head(size: int, lines: int) -> Failure:
    """431: more than `size` bytes or `lines` headers."""
    message = f"The request's headers are larger than {size} bytes, or more than {lines}."
    return Failure(431, "headers_too_large", message)
