"""Keeps web pages out: a browser on this machine reaches loopback, and the account must not pay for it.

A page that posts here is known by its Origin; one that had its name rebound to 127.0.0.1, by its Host.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from claude_server.dialects.base import Failure
from claude_server.http.guard import refusal
from claude_server.http.guard.address import parse_address
from claude_server.http.guard.ring import KeyRing
from claude_server.telemetry.requests import annotate

_MAX_LOGGED_CHARS = 200
# The names after [::1] are those by which containers call their host. `internal` belongs to nobody's DNS, so
# no page can have one of its own.
_THIS_MACHINE = re.compile(
    r"(localhost|127\.0\.0\.1|\[::1\]|(host|gateway)\.docker\.internal|host\.(containers|lima|orb)\.internal)"
    r"(:\d{1,5})?",
    re.IGNORECASE,
)
ANY_ORIGIN = "*"
# The end of an allowed origin that stands for every page of a scheme, such as vscode-webview://*.
ANY_OF_SCHEME = "://*"
# What a page's script may read of an answer, beside what browsers show anyway.
EXPOSED = (
    *("x-request-id", "openai-processing-ms", "x-claude-session", "x-ignored-params"),
    *("x-should-retry", "retry-after", "request-id", "x-claude-token-count"),
)
# Two of these are two answers to one question, and a proxy may have believed the other one.
_ONCE = frozenset({b"host", b"origin", b"content-type"})
# Written by proxies; programs on this machine have no use for them.
_PROXY_HEADERS = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")


class OriginMiddleware:
    """403 for an Origin that is neither this server's own nor one of `allowed`; 400 for a second Host, Origin
    or Content-Type.

    While no key is set, only this machine is served: 403 for another's address, which a server that listens
    on more than loopback would see, and for what a proxy passed on, and 421 for a Host that isn't this
    machine's.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, allowed: Collection[str]) -> None:
        self._app = app
        self._ring = ring
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refused = self._refusal(scope)
            if refused is not None:
                await refusal.response(refused, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Failure | None:
        counts = Counter(name for name, _ in scope["headers"])
        doubled = next((name.decode() for name in _ONCE if counts[name] > 1), None)
        if doubled is not None:
            annotate(scope, outcome="repeated_header", header=doubled)
            return refusal.repeated_header(doubled)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._ring.required:
            refused = _keyless_refusal(scope, headers, host)
            if refused is not None:
                return refused
        origin = headers.get(b"origin")
        if origin is None or self._is_allowed(origin.lower()):
            return None
        # Whatever its scheme: behind a proxy that does TLS, ours isn't the one that the browser sees.
        if origin.partition("://")[2] == host != "":
            return None
        annotate(scope, outcome="foreign_origin", origin=origin[:_MAX_LOGGED_CHARS], setting="CORS_ORIGINS")
        return refusal.foreign_origin(origin)

    def _is_allowed(self, origin: str) -> bool:
        scheme = origin.partition("://")[0] + ANY_OF_SCHEME
        return not self._allowed.isdisjoint((ANY_ORIGIN, origin, scheme))


def _keyless_refusal(scope: Scope, headers: Mapping[bytes, str], host: str) -> Failure | None:
    """The refusal of a request that isn't a program's on this machine."""
    client = scope.get("client")
    if client and not _on_this_machine(client[0]):
        annotate(scope, outcome="foreign_origin", client=client[0], setting="API_KEY")
        return refusal.foreign_client()
    written = next((name.decode() for name in _PROXY_HEADERS if name in headers), None)
    if written is not None:
        annotate(scope, outcome="foreign_origin", header=written, setting="API_KEY")
        return refusal.behind_proxy(written)
    if not _THIS_MACHINE.fullmatch(host):
        annotate(scope, outcome="foreign_origin", host=host[:_MAX_LOGGED_CHARS], setting="API_KEY")
        return refusal.foreign_host(host)
    return None


def origin_pattern(allowed: Collection[str]) -> str | None:
    """The pattern of the origins that are allowed by their scheme; None if there are none."""
    schemes = [re.escape(name.removesuffix("*")) for name in allowed if name.endswith(ANY_OF_SCHEME)]
    return f"({'|'.join(schemes)}).*" if schemes else None


@lru_cache
def _on_this_machine(client: str) -> bool:
    """Is it a loopback address? What is none: a socket file, or a client in this process."""
    address = parse_address(client)
    return address is None or address.is_loopback
