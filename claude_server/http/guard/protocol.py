"""HTTP within bounds, before there is a request: the size of its head, how long it may take to come, and the
number of connections.

uvicorn has no such limit: it would keep any head in memory, wait for its end for ever, and take connections
until no descriptor is left.
"""

from __future__ import annotations

import asyncio
import http
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from claude_server.dialects.base import Failure
from claude_server.http.guard import refusal
from claude_server.http.guard.caller import is_known
from claude_server.http.guard.connections import most_connections, one_too_many

MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
# Seconds for a head, and then for the rest of the request.
READ_TIMEOUT = 15.0
# Seconds that a connection is kept for the next request of a client that has shown no key.
_STRANGERS_KEEP_ALIVE = 5
# Seconds that a client may leave written data unread. Longer than a route waits, so that the route logs it.
_WRITE_TIMEOUT = 75.0


class _HeadTooLarge(Exception):
    pass


class BoundedProtocol(HttpToolsProtocol):
    """431 for a head of more than MAX_HEAD bytes or MAX_HEADERS lines, 408 for one that doesn't come.

    The body has the timeout of the route that reads it. If none does (the request was refused by its head),
    the connection is closed after `read_timeout`. A connection that waits for its next request is uvicorn's.
    A client that reads nothing of its answer is aborted: an orderly close would wait for it. Where there are
    too many connections, an idle one is closed, or 503 is the answer.
    """

    read_timeout = READ_TIMEOUT
    write_timeout = _WRITE_TIMEOUT
    strangers_keep_alive: float = _STRANGERS_KEEP_ALIVE
    most_connections = staticmethod(most_connections)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._received = 0  # bytes, while the head isn't whole
        self._parsed = 0  # bytes of it that the parser has told
        self._lines = 0
        self._too_large = False
        self._refused = False
        self.address = ""
        self.known = False
        self.idle_since: float | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.idle_since = self.loop.time()
        self._start_read_timer()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_read_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        # A line is told when it has ended: until then the parser keeps it.
        if self._in_head and not self._refused:
            self._received += len(data)
            if self._received > MAX_HEAD:
                self._refuse(_too_large())

    def shutdown(self) -> None:
        """The server goes down: a body that has not come by now is not waited for."""
        if self.cycle is not None and self.cycle.more_body:
            self.transport.close()
        else:
            super().shutdown()

    # The parser's side

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._received = self._parsed = self._lines = 0
        self._in_head = True
        self._start_read_timer()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        self._count(len(name) + len(value))
        # A trailer comes after the guards have looked: it is no header.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self.idle_since = None
        self._start_read_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_read_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.known = self.known or is_known(self.cycle.scope)
        # Seconds, and a timer's: a fraction will do, too.
        usual: Any = self.config.timeout_keep_alive
        self.timeout_keep_alive = usual if self.known else min(self.strangers_keep_alive, usual)
        if not self.pipeline:
            self.idle_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(_too_large() if self._too_large else refusal.malformed())

    # Ours

    def _make_room(self) -> None:
        most = self.most_connections()
        if len(self.connections) <= most // 2:
            return
        present = [each for each in self.connections if isinstance(each, BoundedProtocol)]
        closed = one_too_many(present, self, most)
        if closed is self:
            self._refused = True
            self.transport.write(_encoded(refusal.too_many_connections()))
            self.transport.close()
        elif closed is not None:
            self.connections.discard(closed)
            # At once: an orderly close would keep its descriptor for a while.
            closed.transport.abort()

    def _count(self, size: int) -> None:
        self._parsed += size
        if self._parsed > MAX_HEAD or self._lines > MAX_HEADERS:
            # The parser passes it to data_received, which answers it as a malformed request.
            self._too_large = True
            raise _HeadTooLarge

    def _start_read_timer(self) -> None:
        self._stop_read_timer()
        self._read_timer = self.loop.call_later(self.read_timeout, self._read_timed_out)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _read_timed_out(self) -> None:
        self._read_timer = None
        if self._refused:
            self.transport.close()
        elif self.cycle is not None and not self.cycle.response_complete:
            # It will be answered, and that is the connection's end.
            self.cycle.keep_alive = False
        elif self._in_head:
            self._refuse(refusal.late_head(self.read_timeout))
        else:
            self.transport.close()

    def _refuse(self, failure: Failure) -> None:
        """Answer without an application, and close."""
        self._refused = True
        running = self.cycle is not None and not self.cycle.response_complete
        if not running or not self.cycle.response_started:
            self.transport.write(_encoded(failure))
        if running:
            # Its application learns so that the client is gone.
            self.transport.close()
            return
        # What still comes is taken and dropped: to close on it would reset the connection, and the client
        # would not see why.
        self.transport.write_eof()
        self._start_read_timer()


def _too_large() -> Failure:
    return refusal.large_head(MAX_HEAD, MAX_HEADERS)


def _encoded(failure: Failure) -> bytes:
    """The whole response, as the connection's last."""
    answer = refusal.response(failure)
    status = f"HTTP/1.1 {answer.status_code} {http.HTTPStatus(answer.status_code).phrase}".encode()
    lines = [status, *(b"%s: %s" % header for header in answer.raw_headers), b"connection: close"]
    return b"\r\n".join((*lines, b"", bytes(answer.body)))
