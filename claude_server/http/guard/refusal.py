"""How the guards refuse: before any route, so with answers of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.responses import Response

from claude_server.command_line import command
from claude_server.dialects.chat.errors import ErrorBody, ErrorDetail, RateLimitBody, RateLimitDetail

_REQUEST = "invalid_request_error"
_FINAL = {"x-should-retry": "false"}


def repeated_header(name: str) -> Response:
    """400: the header may come once only."""
    message = f"The request has more than one '{name}' header: send one."
    return _response(400, message, "invalid_request_error", _FINAL)


def _add_key() -> str:
    return f"'{command('keys add NAME')}'"


def foreign_host(host: str) -> Response:
    """421: a name that isn't this machine's; a page had it rebound."""
    message = (
        f"The Host '{host[:100]}' is not served while no key is set: use 127.0.0.1 or localhost (from a "
        f"container host.docker.internal), or let the operator add a key with {_add_key()}."
    )
    return _response(421, message, "foreign_origin", _FINAL)


def foreign_client() -> Response:
    """403: from elsewhere, while no key is set."""
    message = (
        f"Only this machine may use a server without keys: the operator can add one with {_add_key()}. A "
        "container counts as another machine."
    )
    return _response(403, message, "foreign_origin", _FINAL)


def behind_proxy(header: str) -> Response:
    """403: a proxy passed it on, while no key is set."""
    message = (
        f"The request has the header '{header}', so it came through a proxy, perhaps from another machine; "
        f"only this machine may use a server without keys. The operator can add one with {_add_key()}."
    )
    return _response(403, message, "foreign_origin", _FINAL)


def foreign_origin(origin: str) -> Response:
    """403: a web page that the operator didn't name."""
    can_be_named = "its operator can name them in CORS_ORIGINS."
    if origin == "null":
        can_be_named = "CORS_ORIGINS can't name a page without an origin: a file, or a frame in a sandbox."
    message = f"Web pages of '{origin[:100]}' may not use this server: {can_be_named}"
    return _response(403, message, "foreign_origin", _FINAL)


def no_key() -> Response:
    """401: the same for a key that is missing, wrong or revoked, on every path."""
    message = (
        "A valid API key is needed: send it as 'Authorization: Bearer KEY' (OpenAI clients: api_key) or as "
        "'x-api-key: KEY'."
    )
    return _response(401, message, "invalid_api_key", {**_FINAL, "www-authenticate": "Bearer"})


def key_busy(concurrency: int) -> Response:
    """429: the key has as many requests running as it may."""
    message = f"This API key may have {concurrency} requests at a time: wait for one to end."
    headers = {"x-should-retry": "true", "retry-after": "1"}
    return _response(429, message, "concurrency_limit_exceeded", headers, "rate_limit_error")


def too_many(seconds: float) -> Response:
    """429: the window is used up; `seconds` are left of it."""
    left = max(1, math.ceil(seconds))
    detail = RateLimitDetail(
        message=f"Rate limit exceeded. Try again in {left} seconds.",
        type="rate_limit_exceeded",
        code="too_many_requests",
        retry_after=left,
    )
    headers = {"x-should-retry": "true", "retry-after": str(left)}
    return Response(RateLimitBody(error=detail).model_dump_json(), 429, headers, "application/json")


def not_json(kind: str) -> Response:
    """415: nothing else is read."""
    what = f"is '{kind[:100]}'" if kind else "isn't told"
    message = f"The body's content type {what}: send JSON, with the header 'Content-Type: application/json'."
    return _response(415, message, "unsupported_media_type", _FINAL)


def malformed() -> Response:
    """400: no HTTP."""
    return _response(400, "This is not a valid HTTP request.", "invalid_request_error", _FINAL)


def late_head(seconds: float) -> Response:
    """408: the client may have been slow for once."""
    message = f"The request's headers did not arrive within {seconds:g} s."
    return _response(408, message, "request_timeout", {"x-should-retry": "true"})


def too_many_connections() -> Response:
    """503: all of them are at work."""
    headers = {"x-should-retry": "true", "retry-after": "1"}
    message = "The server has too many connections at work: try again later."
    return _response(503, message, "too_many_connections", headers, "server_error")


def large_head(size: int, lines: int) -> Response:
    """431: more than `size` bytes or `lines` headers."""
    message = f"The request's headers are larger than {size} bytes, or more than {lines}."
    return _response(431, message, "headers_too_large", _FINAL)


def _response(
    status: int, message: str, code: str, headers: Mapping[str, str], kind: str = _REQUEST
) -> Response:
    content = ErrorBody(error=ErrorDetail(message=message, type=kind, code=code)).model_dump_json()
    return Response(content, status, headers, "application/json")
