"""Authentication by API key, and the limits of a key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from claude_server.http.guard import refusal
from claude_server.http.guard.caller import LOCAL_USER, UNAUTHENTICATED, Caller, set_caller
from claude_server.http.guard.keys import Key
from claude_server.http.guard.ring import KeyRing
from claude_server.http.guard.window import FixedWindow
from claude_server.telemetry.requests import annotate

# Paths open without a key: probes of load balancers, the auth status, and pages, since browsers can't send a
# key. Without one they tell no more than that the server is up.
OPEN_PATHS = frozenset(
    {
        *("/health", "/livez", "/readyz", "/v1/auth/status"),
        *("/", "/docs", "/redoc", "/openapi.json"),
    }
)


class ApiKeyMiddleware:
    """401 without a valid key, once there are keys; otherwise sets the request's caller.

    A key's own limits apply to POST, which is what does work: 429 beyond them.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, window: FixedWindow) -> None:
        self._app = app
        self._ring = ring
        self._window = window
        # Running requests by key id.
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._ring.required:
            set_caller(scope, LOCAL_USER)
            await self._app(scope, receive, send)
            return
        key = next((key for token in _presented_keys(scope) if (key := self._ring.find(token))), None)
        if key is None:
            if scope["path"] not in OPEN_PATHS:
                annotate(scope, outcome="invalid_api_key", client=(scope.get("client") or ("",))[0])
                await refusal.response(refusal.no_key(), scope)(scope, receive, send)
                return
            set_caller(scope, UNAUTHENTICATED)
            await self._app(scope, receive, send)
            return
        annotate(scope, key=key.name)
        models = key.limits.models
        set_caller(
            scope, Caller(key.id, None if models is None else frozenset(models), operator=key.operator)
        )
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        await self._apply_key_limits(key, scope, receive, send)

    async def _apply_key_limits(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        concurrency, rate = key.limits.concurrency, key.limits.rate
        if concurrency is not None and self._running[key.id] >= concurrency:
            annotate(scope, outcome="concurrency_limit_exceeded")
            await refusal.response(refusal.key_busy(concurrency), scope)(scope, receive, send)
            return
        self._running[key.id] += 1
        try:
            left = None if rate is None else await self._window.hit(rate, "key", key.id)
            if left is not None:
                annotate(scope, outcome="too_many_requests")
                await refusal.response(refusal.too_many(left), scope)(scope, receive, send)
                return
            await self._app(scope, receive, send)
        finally:
            self._running[key.id] -= 1
            if not self._running[key.id]:
                del self._running[key.id]


def _presented_keys(scope: Scope) -> Iterator[bytes]:
    """The keys in a request's headers: from Authorization, then from x-api-key."""
    headers = dict(reversed(scope["headers"]))
    kind, _, token = headers.get(b"authorization", b"").strip().partition(b" ")
    if kind.lower() == b"bearer" and token.strip():
        yield token.strip()
    if token := headers.get(b"x-api-key", b"").strip():
        yield token
