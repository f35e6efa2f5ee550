"""One id and one log line for each request, as pure ASGI middleware."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_POLLED_PATHS = ("/health", "/livez", "/readyz")
_FIELDS = "claude_api_facts"

# Tasks of a request inherit it.
_current: ContextVar[dict[str, Any] | None] = ContextVar("request_fields", default=None)

log = structlog.get_logger("requests")


def annotate(scope: Scope, **fields: Any) -> None:
    """Set fields of the request's log line; a later value replaces an earlier one."""
    scope.setdefault(_FIELDS, {}).update(fields)


def current_fields() -> dict[str, Any] | None:
    """The fields of the log line of the request that this task works for; None without one."""
    return _current.get()


def request_id_of(scope: Scope) -> str:
    """The request's id, for an answer that the middleware doesn't see; "" where there is none."""
    return str(scope.get(_FIELDS, {}).get("id", ""))


def _none(scope: Scope) -> Iterable[str]:
    return ()


class RequestLogMiddleware:
    """Gives each answer `x-request-id` (the client's own, if it is a sensible one) and
    `openai-processing-ms`, and writes one line when it has ended. `more_id_headers`: other names that the id
    goes under too, for a request."""

    def __init__(self, app: ASGIApp, more_id_headers: Callable[[Scope], Iterable[str]] = _none) -> None:
        self._app = app
        self._more_id_headers = more_id_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        given = next((v for k, v in scope["headers"] if k == b"x-request-id"), b"")
        request_id = given if _ID.fullmatch(given) else f"req_{uuid.uuid4().hex}".encode()
        annotate(scope, id=request_id.decode(), method=scope["method"], path=scope["path"])
        token = _current.set(scope[_FIELDS])

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                ms = round((time.monotonic() - began) * 1000)
                annotate(scope, status=message["status"])
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    *((name.encode(), request_id) for name in self._more_id_headers(scope)),
                    (b"openai-processing-ms", str(ms).encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # It is answered further out, when the line is written already.
            scope[_FIELDS].setdefault("status", 500)
            annotate(scope, outcome="internal_error")
            raise
        finally:
            _current.reset(token)
            fields = scope[_FIELDS]
            fields.setdefault("outcome", "ok" if fields.get("status", 500) < 400 else "refused")
            quiet = scope["path"] in _POLLED_PATHS and fields["outcome"] in ("ok", "refused")
            write = log.debug if quiet else log.warning if "problem" in fields else log.info
            write("request", **fields, ms=round((time.monotonic() - began) * 1000))
