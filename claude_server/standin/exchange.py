"""One answer on its way: waits, sends, and notices who ended it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from claude_server.standin import log as outcomes
from claude_server.standin.caching import Lookup
from claude_server.standin.log import ApiRequest
from claude_server.standin.render import (
    Step,
    apply_limits,
    error_body,
    error_event,
    message_json,
    stream_steps,
)
from claude_server.standin.script import ERROR_TYPES, Answer, ApiError, Cut, Reply, Silence, StreamError

__all__ = ["ClientLeft", "Exchange", "Receive", "Send"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientLeft(Exception):
    """The client closed the connection before the answer was complete."""


class _Stopped(Exception):
    """The stand-in is being shut down."""


class Exchange:
    """Sends one answer. Belongs to the event loop; `stop` ends its waits.

    drop: closes the connection at once, with nothing more sent; None if the server offers no way.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        drop: Callable[[], None] | None,
        request_id: str,
        headers: Mapping[str, str],
    ) -> None:
        self.request_id = request_id
        self._receive = receive
        self._send = send
        self._drop = drop
        self._headers = headers
        self._watch: asyncio.Task[None] | None = None
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        if self._watch is not None:
            self._watch.cancel()

    async def run(self, sending: Awaitable[str]) -> str:
        """Await one of the methods below and return how it ended, a word of `ApiRequest.outcome`."""
        try:
            return await sending
        except ClientLeft:
            return outcomes.CLIENT_LEFT
        except _Stopped:
            await self._hang_up()
            return outcomes.STOPPED
        finally:
            if self._watch is not None:
                self._watch.cancel()

    async def plain(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> str:
        """A whole JSON response."""
        await self._start(status, {"content-type": "application/json", **(headers or {})}, len(body))
        await self._send({"type": "http.response.body", "body": body})
        return outcomes.COMPLETE

    async def error(self, error: ApiError) -> str:
        await self._pause(error.first_delay)
        await self.plain(error.status, error_body(error, self.request_id), error.headers)
        return outcomes.ERROR

    async def answer(
        self, answer: Answer, request: ApiRequest, message_id: str, lookup: Lookup, begun: Callable[[], None]
    ) -> str:
        """What a test scripted. `begun` is called when the response begins."""
        if isinstance(answer, ApiError):
            return await self.error(answer)
        if isinstance(answer, (Cut, Silence)) and answer.chars is None:
            return await self._nothing(answer)
        reply = answer if isinstance(answer, Reply) else answer.after
        limited = apply_limits(
            reply, request.body.get("max_tokens"), request.body.get("stop_sequences") or ()
        )
        stop_after = None if isinstance(answer, Reply) else answer.chars
        if isinstance(answer, StreamError) and stop_after is None and request.stream:
            return await self._error_first(answer)
        steps = stream_steps(
            reply,
            limited,
            model=request.model,
            message_id=message_id,
            usage=lookup.usage,
            body=request.body,
            stop_after=stop_after,
        )
        if not request.stream:
            whole = message_json(
                reply,
                limited,
                model=request.model,
                message_id=message_id,
                usage=lookup.usage,
                body=request.body,
            )
            return await self._whole(answer, reply, steps, whole, begun)
        await self._stream(reply, steps, begun, complete=isinstance(answer, Reply))
        return await self._ending(answer)

    async def _stream(
        self, reply: Reply, steps: list[Step], begun: Callable[[], None], complete: bool
    ) -> None:
        """Send the steps at the times they are due: a late one doesn't delay those after it."""
        now = asyncio.get_running_loop().time
        due = now()
        for number, (pause, data) in enumerate(steps, 1):
            due += pause
            await self._pause(due - now() if pause else 0.0)
            if number == 1:
                begun()
                await self._start(200, {**_STREAM_HEADERS, **reply.headers})
            more = number < len(steps) or not complete or reply.linger > 0
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        if complete and reply.linger > 0:
            await self._pause(reply.linger)
            await self._send({"type": "http.response.body", "body": b""})

    async def _error_first(self, answer: StreamError) -> str:
        """A stream whose first event is the error."""
        await self._pause(answer.after.first_delay)
        await self._start(200, {**_STREAM_HEADERS, **answer.after.headers})
        return await self._ending(answer)

    async def _whole(
        self, answer: Answer, reply: Reply, steps: list[Step], whole: bytes, begun: Callable[[], None]
    ) -> str:
        """The same without streaming: it comes when the stream would have ended."""
        await self._pause(sum(step.pause for step in steps))
        if isinstance(answer, StreamError):
            status = next((s for s, kind in ERROR_TYPES.items() if kind == answer.type), 500)
            return await self.error(ApiError(status, answer.type, answer.message))
        begun()
        if isinstance(answer, Reply):
            return await self.plain(200, whole, reply.headers)
        await self._start(200, {"content-type": "application/json", **reply.headers}, len(whole))
        half = whole[: len(whole) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        return await self._ending(answer)

    async def _ending(self, answer: Answer) -> str:
        """What comes after the content that was sent."""
        if isinstance(answer, StreamError):
            event = error_event(answer.type, answer.message, self.request_id)
            await self._send({"type": "http.response.body", "body": event})
            return outcomes.ERROR
        if isinstance(answer, Silence):
            await self._pause(answer.seconds)
        # Returning with more_body still true is how an ASGI server is told to break off, after a flush.
        return outcomes.COMPLETE if isinstance(answer, Reply) else outcomes.CUT

    async def _nothing(self, answer: Cut | Silence) -> str:
        await self._pause(answer.seconds if isinstance(answer, Silence) else answer.after.first_delay)
        await self._hang_up()
        return outcomes.CUT

    async def _start(self, status: int, headers: Mapping[str, str], length: int | None = None) -> None:
        merged = {**self._headers, "request-id": self.request_id, **headers}
        if length is not None:
            merged["content-length"] = str(length)
        pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in merged.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _pause(self, seconds: float | None) -> None:
        """Wait, unless the client leaves or the stand-in stops: then raise."""
        if seconds is None or seconds > 0:
            if self._watch is None:
                self._watch = asyncio.ensure_future(self._until_left())
            if not self._stopped:
                await asyncio.wait({self._watch}, timeout=seconds)
        if self._stopped:
            raise _Stopped
        if self._watch is not None and self._watch.done():
            raise ClientLeft

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _hang_up(self) -> None:
        if self._drop is not None:
            self._drop()
            # The server learns of it in the next turn of the loop; until then it would answer with a 500.
            await self._until_left()


_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
