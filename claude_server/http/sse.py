"""Server-sent events over raw ASGI: sent as they come, with pings in between.

Not Starlette's StreamingResponse, nor a library on top of it: those leave the generator unclosed when the
client goes, and don't notice that it went while nothing is being sent. Both would keep a turn running.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Protocol

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from claude_server.core.drain import Drain
from claude_server.core.errors import ShuttingDown, TurnError
from claude_server.dialects.base import Failure, ServerEvent
from claude_server.http import errors
from claude_server.http.connection import while_connected
from claude_server.http.guard import refusal
from claude_server.telemetry.requests import annotate

# A line and not a block: at an empty line OpenAI's client for Go sees an event, and fails if it has no data.
_COMMENT = b": ping\n"


def encoded(events: Iterable[ServerEvent]) -> bytes:
    """Events as they are sent, one after the other. Their data is JSON, which holds no newline."""
    lines = bytearray()
    for event in events:
        if event.name is not None:
            lines += b"event: " + event.name.encode() + b"\n"
        lines += b"data: " + event.data + b"\n\n"
    return bytes(lines)


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """Seconds: `hold` back the status for an early error, `ping` after so much silence, and give up on a
    client that takes no data for `send`."""

    hold: float = 10.0
    ping: float = 15.0
    send: float = 60.0


class Ending(Protocol):
    """What a stream needs of a `base.Presenter` beside its events."""

    def failed(self, failure: Failure) -> Iterable[ServerEvent]: ...

    def ping(self) -> ServerEvent | None: ...


class EventStream(Response):
    """A response that sends what `events` yields, and always closes the generator.

    The status is held back until the first data, so that an early failure has its own status; a later one is
    what `presenter` makes of a failure, and nothing comes after that. `headers` may be filled until then. In
    silence its ping goes out, so that the connection is kept; a comment stands in front of the next event. A
    stream that the drain cuts ends as one that fails.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        presenter: Ending,
        headers: MutableMapping[str, str],
        times: StreamTimings,
        drain: Drain,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._events = events
        self._presenter = presenter
        self._more_headers = headers
        self._times = times
        self._drain = drain
        self._begun = False
        self._complete = False
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_alive, send, group.cancel_scope)
                await self._send_all(scope, receive, send)
                group.cancel_scope.cancel()

        try:
            await while_connected(receive, self._drain, work)
            if not self._complete:
                annotate(scope, outcome="client_gone")
        except ShuttingDown as error:
            if not self._complete:
                await self._fail(error, scope, receive, send)
        finally:
            await self._events.aclose()

    async def _send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async for data in self._events:
                if not await self._send(send, data):
                    return
        except TurnError as error:
            await self._fail(error, scope, receive, send)
            return
        await self._finish(send)

    async def _fail(self, error: TurnError, scope: Scope, receive: Receive, send: Send) -> None:
        failure = errors.failure_of(error)
        annotate(scope, **errors.log_fields(failure))
        if not self._begun:
            self._begun = self._complete = True
            await refusal.response(failure, scope)(scope, receive, send)
        elif await self._send(send, encoded(self._presenter.failed(failure))):
            await self._finish(send)

    async def _finish(self, send: Send) -> None:
        # Once this is out the connection may close, which looks like a client that left.
        self._complete = True
        await self._put(send, {"type": "http.response.body", "body": b""})

    async def _send(self, send: Send, data: bytes) -> bool:
        """Send data; false if the client takes no more."""
        self._last_sent = time.monotonic()
        if not self._begun:
            self._begun = True
            del self.headers["content-length"]
            fixed = {"cache-control": "no-store", "x-accel-buffering": "no"}
            self.headers.update({**fixed, **self._more_headers})
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            if not await self._put(send, start):
                return False
        return await self._put(send, {"type": "http.response.body", "body": data, "more_body": True})

    async def _put(self, send: Send, message: Message) -> bool:
        # At shutdown, don't wait for a client that takes nothing.
        patience = min(1.0, self._times.send) if self._drain.cut else self._times.send
        with anyio.move_on_after(patience) as waiting:
            await send(message)
        return not waiting.cancelled_caught

    async def _keep_alive(self, send: Send, group: anyio.CancelScope) -> None:
        await anyio.sleep(self._times.hold)
        while not self._complete:
            silent = time.monotonic() - self._last_sent
            if self._begun and silent < self._times.ping:
                await anyio.sleep(self._times.ping - silent)
            elif not await self._send(send, self._ping()):
                group.cancel()

    def _ping(self) -> bytes:
        event = self._presenter.ping()
        return _COMMENT if event is None else encoded((event,))
