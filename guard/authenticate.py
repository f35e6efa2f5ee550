"""Which key a request comes with. Without a good one there is nothing to be had here but how to use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from guard import refusal
from guard.caller import ANYBODY, STRANGER, Caller, identify
from guard.keys import Key
from guard.ring import KeyRing
from guard.window import Window
from telemetry.requests import note

# What a load balancer looks at, what tells a client whether it needs a key, and pages for people, whose
# browsers can't send one. Without a key they tell of this server no more than that it is up.
OPEN = frozenset(
    {
        *("/health", "/livez", "/readyz", "/v1/auth/status"),
        *("/", "/docs", "/redoc", "/openapi.json"),
    }
)


class RequireKey:
    """401 without a good key, once there are keys; says who asks otherwise.

    A key's own limits are for what does work, which is asked for by POST: 429 for one too many.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, window: Window) -> None:
        self._app = app
        self._ring = ring
        self._window = window
        # Requests that run, by key id; none for a key that has none.
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._ring.required:
            identify(scope, ANYBODY)
            await self._app(scope, receive, send)
            return
        key = next((key for token in _offered(scope) if (key := self._ring.find(token))), None)
        if key is None:
            if scope["path"] not in OPEN:
                note(scope, outcome="invalid_api_key")
                await refusal.no_key()(scope, receive, send)
                return
            identify(scope, STRANGER)
            await self._app(scope, receive, send)
            return
        note(scope, key=key.name)
        models = key.limits.models
        identify(scope, Caller(key.id, None if models is None else frozenset(models), operator=key.operator))
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        await self._limited(key, scope, receive, send)

    async def _limited(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        concurrency, rate = key.limits.concurrency, key.limits.rate
        if concurrency is not None and self._running[key.id] >= concurrency:
            note(scope, outcome="concurrency_limit_exceeded")
            await refusal.key_busy(concurrency)(scope, receive, send)
            return
        self._running[key.id] += 1
        try:
            left = None if rate is None else await self._window.hit(rate, "key", key.id)
            if left is not None:
                note(scope, outcome="too_many_requests")
                await refusal.too_many(left)(scope, receive, send)
                return
            await self._app(scope, receive, send)
        finally:
            self._running[key.id] -= 1
            if not self._running[key.id]:
                del self._running[key.id]


def _offered(scope: Scope) -> Iterator[bytes]:
    """The keys in a request's headers: one in each at most."""
    headers = dict(reversed(scope["headers"]))
    kind, _, token = headers.get(b"authorization", b"").strip().partition(b" ")
    if kind.lower() == b"bearer" and token.strip():
        yield token.strip()
    if token := headers.get(b"x-api-key", b"").strip():
        yield token
