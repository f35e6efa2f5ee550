"""Only JSON comes in: what a web page may send anywhere without asking first (text, forms) is refused."""

from __future__ import annotations

import re

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from claude_server.http.guard import refusal
from claude_server.telemetry.requests import annotate

_JSON = re.compile(rb"application/([\w.-]+\+)?json\s*(;.*)?", re.IGNORECASE)


class JsonOnlyMiddleware:
    """415 for a body whose content type is missing or not JSON, where there is something that would read it.

    Other requests go on to their 404 or 405, which says more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            kind = headers.get(b"content-type", b"")
            if _has_body(headers) and not _JSON.fullmatch(kind.strip()) and _is_routed(scope):
                annotate(scope, outcome="unsupported_media_type")
                await refusal.response(refusal.not_json(kind.decode("latin-1")), scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_routed(scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0").strip(b"0") != b"" or b"transfer-encoding" in headers
