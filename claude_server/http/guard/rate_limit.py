"""How many requests a client's address may send to each route in a minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from claude_server.dialects.table import DIALECTS
from claude_server.http.guard import refusal
from claude_server.http.guard.address import Network, client_of
from claude_server.http.guard.window import FixedWindow
from claude_server.telemetry.requests import annotate

GENERAL = "general"
# Each of these has a count of its own for each method, and what is below it has one more; the kind says which
# number holds. The probes of a load balancer aren't counted: a refused one would end the server.
_ROUTES: tuple[tuple[str, str | None], ...] = (
    *((path, "chat") for dialect in DIALECTS for path in dialect.paths),
    *(("/v1/debug", "debug"), ("/v1/auth", "auth"), ("/v1/sessions", "session"), ("/health", "health")),
    *(("/v1/models", GENERAL), ("/v1/tools", GENERAL), ("/v1/mcp", GENERAL), ("/v1/compatibility", GENERAL)),
    ("/v1/conversations", GENERAL),
    *(("/livez", None), ("/readyz", None)),
)
_METHODS = frozenset({"GET", "POST", "DELETE"})


def route(method: str, path: str) -> tuple[str, str] | None:
    """The kind of a request, and what it is counted under; None: not counted.

    There is a fixed number of counts, whatever paths and methods are asked for.
    """
    verb = method if method in _METHODS else "other"
    for place, kind in _ROUTES:
        if path == place or path.startswith(f"{place}/"):
            below = "" if path == place else "/"
            return None if kind is None else (kind, f"{verb} {place}{below}")
    return GENERAL, f"{verb} other"


class RateLimitMiddleware:
    """429 for a request that is one too many. `limits`: requests a minute, by kind."""

    def __init__(
        self, app: ASGIApp, window: FixedWindow, limits: Mapping[str, int], trusted: Sequence[Network]
    ) -> None:
        self._app = app
        self._window = window
        self._limits = limits
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counted = route(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if counted is not None:
            kind, name = counted
            peer = scope.get("client")
            forwarded = [v.decode("latin-1") for k, v in scope["headers"] if k == b"x-forwarded-for"]
            client = client_of(peer[0] if peer else None, forwarded, self._trusted)
            left = await self._window.hit(self._limits[kind], "client", client, name)
            if left is not None:
                annotate(scope, outcome="too_many_requests")
                await refusal.response(refusal.too_many(left), scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)
