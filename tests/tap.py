"""Every answer that a test reads from the server over httpx is checked on its way (`tests.conformance`).

In the transports of both httpx, since the openai SDK uses one and the tests the other.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2

from tests import conformance, messages_conformance, responses_conformance

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
RESPONSES = "/v1/responses"
MESSAGES = ("/v1/messages", "/v1/v1/messages")
COUNTS = tuple(f"{path}/count_tokens" for path in MESSAGES)
_ANTHROPIC = "anthropic-version"
_Checker = (
    conformance.StreamChecker | responses_conformance.StreamChecker | messages_conformance.StreamChecker
)


class Answer:
    """One answer of the server, fed with its body."""

    def __init__(self, request: Any, response: Any, complaints: list[str]) -> None:
        self._path: str = request.url.path
        self._status: int = response.status_code
        self._complaints = complaints
        self._body = bytearray()
        self._anthropics = self._path in (*MESSAGES, *COUNTS) or _is_marked(request)
        self._stream: _Checker | None = None
        asked = _asked(request) if self._path == CHAT else {}
        self._n: int = asked.get("n") or 1
        if self._status == 200 and response.headers.get("content-type", "").startswith("text/event-stream"):
            options = asked.get("stream_options") or {}
            if self._path == CHAT:
                self._stream = conformance.StreamChecker(
                    include_usage=bool(options.get("include_usage")), n=self._n
                )
            elif self._path in MESSAGES:
                self._stream = messages_conformance.StreamChecker()
            else:
                self._stream = responses_conformance.StreamChecker()

    def feed(self, data: bytes) -> None:
        if self._stream is None:
            self._body += data
        else:
            self._stream.feed(data)
            self._report(self._stream.complaints)

    def end(self) -> None:
        """The whole body was read."""
        if self._stream is not None:
            self._stream.end()
            self._report(self._stream.complaints)
        elif self._anthropics:
            self._report(self._of_anthropics(bytes(self._body)))
        elif self._status >= 400:
            self._report(conformance.error_body(bytes(self._body)))
        elif self._path == CHAT:
            self._report(conformance.completion(bytes(self._body), self._n))
        elif self._path == RESPONSES:
            self._report(responses_conformance.response(bytes(self._body)))
        else:
            self._report(conformance.models(bytes(self._body), one=self._path != MODELS))

    def _of_anthropics(self, body: bytes) -> list[str]:
        if self._status >= 400:
            return messages_conformance.error_body(body)
        if self._path in COUNTS:
            return messages_conformance.count(body)
        if self._path in MESSAGES:
            return messages_conformance.message(body)
        return messages_conformance.models(body, one=self._path != MODELS)

    def _report(self, found: list[str]) -> None:
        self._complaints += [f"{self._path}: {complaint}" for complaint in found]
        found.clear()


def _is_marked(request: Any) -> bool:
    """Is it Anthropic's at a path that dialects share?"""
    return _ANTHROPIC in request.headers and (
        request.url.path == MODELS or request.url.path.startswith(f"{MODELS}/")
    )


def _asked(request: Any) -> dict[str, Any]:
    """The request's body; a test may send anything, or in pieces."""
    try:
        value = json.loads(request.content)
    except (ValueError, RecursionError, httpx.RequestNotRead, httpx2.RequestNotRead):
        return {}
    return value if isinstance(value, dict) else {}


def _concerns(request: Any, response: Any) -> bool:
    path: str = request.url.path
    if request.method in ("OPTIONS", "HEAD"):
        # What browsers ask before they ask has no body of ours, and HEAD has none at all.
        return False
    # The API that we talk to has models, too.
    ours = "x-request-id" in response.headers
    known = (CHAT, MODELS, RESPONSES, *MESSAGES, *COUNTS)
    return ours and (path in known or path.startswith(f"{MODELS}/"))


def _stream_kind(library: ModuleType) -> Any:
    """A body of the library's own kinds that is passed on to an `Answer` while it is read."""

    class Tapped(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(self, inner: Any, answer: Answer) -> None:
            self.inner, self.answer = inner, answer

        def __iter__(self) -> Iterator[bytes]:
            for data in self.inner:
                self.answer.feed(data)
                yield data
            self.answer.end()

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for data in self.inner:
                self.answer.feed(data)
                yield data
            self.answer.end()

        def close(self) -> None:
            self.inner.close()

        async def aclose(self) -> None:
            await self.inner.aclose()

    return Tapped


def _wrappers(library: ModuleType, complaints: list[str]) -> tuple[Any, Any]:
    """What makes a tapped `handle_request` and `handle_async_request` of the original ones."""
    kind = _stream_kind(library)

    def tap(request: Any, response: Any) -> Any:
        if _concerns(request, response):
            response.stream = kind(response.stream, Answer(request, response, complaints))
        return response

    def sync(original: Any) -> Any:
        return lambda transport, request: tap(request, original(transport, request))

    def asynchronous(original: Any) -> Any:
        async def handle(transport: Any, request: Any) -> Any:
            return tap(request, await original(transport, request))

        return handle

    return sync, asynchronous


@contextlib.contextmanager
def tapped() -> Iterator[list[str]]:
    """While this is open, the list grows by what is wrong with the answers that are read."""
    complaints: list[str] = []
    originals = []
    for library in (httpx, httpx2):
        sync, asynchronous = _wrappers(library, complaints)
        for kind, name, wrap in (
            (library.HTTPTransport, "handle_request", sync),
            (library.AsyncHTTPTransport, "handle_async_request", asynchronous),
            (library.ASGITransport, "handle_async_request", asynchronous),
        ):
            originals.append((kind, name, getattr(kind, name)))
            setattr(kind, name, wrap(getattr(kind, name)))
    try:
        yield complaints
    finally:
        for kind, name, original in originals:
            setattr(kind, name, original)
