"""Keeps web pages out: a browser on this machine reaches loopback, and the account must not pay for it.

A page that posts here is known by its Origin; one that had its name rebound to 127.0.0.1, by its Host.
"""

from __future__ import annotations

import re

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from wire.errors import ErrorBody, ErrorDetail

_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class LocalOnly:
    """421 for a Host that isn't this machine's, 403 for an Origin other than the server itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not _LOOPBACK.fullmatch(host):
            return _refused(
                421, f"The Host '{host[:100]}' is not served here: use the address of this machine."
            )
        origin = headers.get(b"origin")
        if origin is not None and origin != f"{scope['scheme']}://{host}":
            return _refused(403, f"Web pages of '{origin[:100]}' may not use this server.")
        return None


def _refused(status: int, message: str) -> Response:
    detail = ErrorDetail(message=message, type="invalid_request_error", code="foreign_origin")
    content = ErrorBody(error=detail).model_dump_json()
    return Response(content, status, {"x-should-retry": "false"}, "application/json")
