"""The stand-in as a plain ASGI application: routes, keys, and the choice of what is answered."""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from claude_server.standin import control, rules
from claude_server.standin import log as outcomes
from claude_server.standin.caching import CacheControlError, PromptCache, count_tokens
from claude_server.standin.exchange import Exchange, Receive, Send
from claude_server.standin.log import ApiRequest, RequestLog
from claude_server.standin.respond import default_reply
from claude_server.standin.script import Answer, ApiError, Reply

__all__ = ["Responder", "StandInApp"]

Responder = Callable[[ApiRequest], Answer | str]

# The state key under which a server may offer a function that closes the connection at once.
DROP = "standin.drop"
MODELS = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5")
# The API's own limit for a request body.
MAX_BODY = 32 * 1024 * 1024


class StandInApp:
    """Everything but the server. `push`, `responder` and the log may be used from other threads.

    keys: the accepted API keys or bearer tokens; None accepts any, but one has to be there.
    cache: the prompt cache; None is one that caches from the first token on.
    log: where requests are kept.
    strict: refuse what the API refuses (see rules.py) before anything scripted is used up.
    max_body: bytes; more is a 413.
    """

    def __init__(
        self,
        *,
        keys: Collection[str] | None = None,
        cache: PromptCache | None = None,
        log: RequestLog | None = None,
        responder: Responder = default_reply,
        strict: bool = True,
        max_body: int = MAX_BODY,
    ) -> None:
        self.keys = None if keys is None else frozenset(keys)
        self.cache = cache if cache is not None else PromptCache()
        self.log = log if log is not None else RequestLog()
        self.responder = self._first_responder = responder
        self.strict = strict
        self.max_body = max_body
        self.failures: deque[Exception] = deque(maxlen=100)
        self.queue: deque[Answer] = deque()
        self._open: set[Exchange] = set()
        # Ids have to differ between two stand-ins too: the CLI merges messages with the same one.
        self._run = secrets.token_hex(6)
        self._headers = {"anthropic-organization-id": "00000000-0000-4000-8000-000000000000"}

    def __repr__(self) -> str:
        return f"<StandInApp {self.log!r} queued={len(self.queue)} open={len(self._open)}>"

    def push(self, *answers: Answer | str) -> None:
        """Answers for the next requests to /v1/messages, one each, in order of arrival."""
        self.queue.extend(Reply.of(a) if isinstance(a, str) else a for a in answers)

    def clear(self) -> None:
        """Forget the kept requests and the queue; the prompt cache and the responder stay."""
        self.queue.clear()
        self.log.clear()

    def reset(self) -> None:
        """As after the start, but for the counters: no requests, queue, cache, failures; first responder."""
        self.clear()
        self.cache.clear()
        self.failures.clear()
        self.responder = self._first_responder

    def stats(self) -> dict[str, int]:
        """Counters since the start; `open` and `queued` are of now. bytes_in: bodies only."""
        return {
            "requests": self.log.requests_seen,
            "turns": self.log.turns_seen,
            "bytes_in": self.log.bytes_in,
            "open": len(self._open),
            "queued": len(self.queue),
            "cache_entries": len(self.cache),
            "failures": len(self.failures),
        }

    def stop(self) -> None:
        """End all answers that wait. From the loop's own thread."""
        for exchange in list(self._open):
            exchange.stop()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the stand-in speaks HTTP only, not {scope['type']}")
        raw = await _read_body(receive)
        if raw is None:
            return
        path, query = scope["path"], scope["query_string"].decode("latin-1")
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        drop = (scope.get("state") or {}).get(DROP)
        if path.startswith(control.PREFIX):
            status, body = control.handle(self, scope["method"], path, query, raw)
            await Exchange(receive, send, drop, "", {}).plain(status, body)
            return
        parsed = _parse(raw)
        request = self.log.add(scope["method"], path, query, _masked(headers), raw, parsed)
        exchange = Exchange(receive, send, drop, f"req_{self._run}{request.number:08d}", self._headers)
        self._open.add(exchange)
        outcome = outcomes.STOPPED
        try:
            refusal = self._refusal(headers, raw, parsed) if path.startswith("/v1/") else None
            sending = exchange.error(refusal) if refusal else self._route(request, exchange)
            outcome = await exchange.run(sending)
        except Exception as error:
            # The server logs nothing, so that cuts made on purpose are silent; a fault of ours must not be.
            self.failures.append(error)
            outcome = outcomes.ERROR
            raise
        finally:
            self._open.discard(exchange)
            self.log.finish(request, outcome)

    def _refusal(self, headers: Mapping[str, str], raw: bytes, parsed: Any) -> ApiError | None:
        """What the API looks at before anything else."""
        key = headers.get("x-api-key") or headers.get("authorization", "").partition("Bearer ")[2]
        if not key:
            return ApiError(401, message="x-api-key header is required")
        if self.keys is not None and key not in self.keys:
            return ApiError.unauthorized()
        if len(raw) > self.max_body:
            return ApiError.too_large()
        if raw and not isinstance(parsed, dict):
            return ApiError.bad_request("The request body is not valid JSON")
        return None

    async def _route(self, request: ApiRequest, exchange: Exchange) -> str:
        if request.is_turn:
            return await self._turn(request, exchange)
        if request.method == "POST" and request.path == "/v1/messages/count_tokens":
            return await exchange.plain(200, _json({"input_tokens": count_tokens(request.body)}))
        if request.method == "GET" and request.path == "/v1/models":
            listed = [_model(name) for name in MODELS]
            page = {"data": listed, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
            return await exchange.plain(200, _json(page))
        if request.method == "GET" and request.path.startswith("/v1/models/"):
            return await exchange.plain(200, _json(_model(request.path.removeprefix("/v1/models/"))))
        return await exchange.error(ApiError(404))

    async def _turn(self, request: ApiRequest, exchange: Exchange) -> str:
        try:
            found = rules.validation_error(request.body) if self.strict else None
            if found is not None:
                return await exchange.error(ApiError.bad_request(found))
            lookup = self.cache.look_up(request.body, time.monotonic())
        except CacheControlError as error:
            return await exchange.error(ApiError.bad_request(str(error)))
        except (AttributeError, KeyError, TypeError) as error:
            # JSON of the wrong shape (a block that is a number): the API has a schema for it, this hasn't.
            return await exchange.error(ApiError.bad_request(f"The request has the wrong shape: {error!r}"))
        answer = self._next_answer(request)
        self.log.set_usage(request, lookup.usage, lookup.hit)

        def begun() -> None:
            self.cache.store(lookup, time.monotonic())

        message_id = f"msg_{self._run}{request.number:08d}"
        return await exchange.answer(answer, request, message_id, lookup, begun)

    def _next_answer(self, request: ApiRequest) -> Answer:
        if self.queue:
            return self.queue.popleft()
        try:
            answer = self.responder(request)
        except Exception as error:
            # A responder is the test's own code: its failure must reach the client and stay visible.
            self.failures.append(error)
            return ApiError(500, message=f"the stand-in's responder raised {error!r}")
        return Reply.of(answer) if isinstance(answer, str) else answer


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client left while sending it."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else {}
    except ValueError:
        return None


def _masked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without their keys: whoever runs a stand-in may have pointed a real login at it."""
    masked = dict(headers)
    for name, mask in (("x-api-key", "***"), ("authorization", "Bearer ***"), ("cookie", "***")):
        if name in masked:
            masked[name] = mask
    return masked


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
