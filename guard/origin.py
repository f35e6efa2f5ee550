"""Keeps web pages out: a browser on this machine reaches loopback, and the account must not pay for it.

A page that posts here is known by its Origin; one that had its name rebound to 127.0.0.1, by its Host.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from guard import refusal
from guard.address import parse_address
from guard.ring import KeyRing
from telemetry.requests import annotate

_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
ANY_ORIGIN = "*"
# What a page's script may read of an answer, beside what browsers show anyway.
EXPOSED = (
    *("x-request-id", "openai-processing-ms", "x-claude-session", "x-ignored-params"),
    *("x-should-retry", "retry-after"),
)


class OriginMiddleware:
    """403 for an Origin that is neither this server's own nor one of `allowed`.

    While no key is set, only this machine is served: 403 for another's address, which a server that listens
    on more than loopback would see, and 421 for a Host that isn't this machine's.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, allowed: Collection[str]) -> None:
        self._app = app
        self._ring = ring
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refused = self._refusal(scope)
            if refused is not None:
                annotate(scope, outcome="foreign_origin")
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._ring.required:
            client = scope.get("client")
            if client and not _on_this_machine(client[0]):
                return refusal.foreign_client()
            if not _LOOPBACK.fullmatch(host):
                return refusal.foreign_host(host)
        origin = headers.get(b"origin")
        if origin is None or ANY_ORIGIN in self._allowed or origin.lower() in self._allowed:
            return None
        # Whatever its scheme: behind a proxy that does TLS, ours isn't the one that the browser sees.
        if origin.partition("://")[2] == host != "":
            return None
        return refusal.foreign_origin(origin)


@lru_cache
def _on_this_machine(client: str) -> bool:
    """Is it a loopback address? What is none: a socket file, or a client in this process."""
    address = parse_address(client)
    return address is None or address.is_loopback
