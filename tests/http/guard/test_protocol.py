"""HTTP within bounds: bytes over a real socket, in front of a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from claude_server.http.guard.caller import UNAUTHENTICATED, Caller, set_caller
from claude_server.http.guard.protocol import MAX_HEAD, MAX_HEADERS, BoundedProtocol

LATE = 0.3
HEAD = b"POST /%s HTTP/1.1\r\nHost: x\r\n"


class Impatient(BoundedProtocol):
    read_timeout = LATE
    write_timeout = LATE


class App:
    """Reads the body and answers with its length; refuses by the head alone at /refuse. At /flood it answers
    on and on, until its client takes no more."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.asked = 0
        self.caller: Caller | None = None
        self.gives_up_after = 60.0
        self.left = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        if self.caller is not None:
            set_caller(scope, self.caller)
        size = 0
        more = scope["path"] != "/refuse"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            size += len(message["body"])
            more = message["more_body"]
        if scope["path"] == "/wait":
            await self.go.wait()
        self.headers = list(scope["headers"])
        if scope["path"] == "/flood":
            await flood(send, self.gives_up_after)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"%9d" % size})


async def flood(send: Send, gives_up_after: float) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    # More than the system keeps for a client that doesn't read.
    for _ in range(1000):
        with anyio.move_on_after(gives_up_after) as waiting:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        if waiting.cancelled_caught:
            return


class Running:
    def __init__(self, app: App, server: uvicorn.Server, port: int) -> None:
        self.app = app
        self.server = server
        self._port = port

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def running(protocol: type[BoundedProtocol] = BoundedProtocol) -> AsyncIterator[Running]:
    app = App()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            yield Running(app, server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, 10)


def status(raw: bytes) -> int:
    return int(raw.split(b" ")[1])


def check_refusal(raw: bytes, expected: int, code: str) -> None:
    """The one shape of an error, and the connection's end."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert status(raw) == expected and b"connection: close" in head and b"x-should-retry: " in head
    detail: dict[str, Any] = json.loads(body)["error"]
    assert set(detail) == {"message", "type", "param", "code"} and detail["code"] == code
    assert f"content-length: {len(body)}".encode() in head


LARGE = [
    HEAD % b"" + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    HEAD % b"" + b"".join(b"X-%d: x\r\n" % i for i in range(2000)) + b"\r\n",
    HEAD % b"" + b"".join(b"X-%d: x\r\n" % i for i in range(MAX_HEADERS)) + b"\r\n",
    HEAD % (b"x" * 70_000) + b"\r\n",
    # Without an end: nothing is told by the parser, and all is kept.
    HEAD % b"" + b"X: " + b"x" * 400_000,
    b"POST /" + b"x" * 400_000,
]


@pytest.mark.parametrize("head", LARGE, ids=["one", "2000", "201", "target", "no end", "no target"])
@pytest.mark.parametrize("piece", [1 << 20, 1000])
async def test_a_head_that_is_too_large(head: bytes, piece: int) -> None:
    async with running() as server, server.connection() as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(head), piece):
                writer.write(head[start : start + piece])
                await writer.drain()
        check_refusal(await reader.read(), 431, "headers_too_large")
        assert server.app.asked == 0


@pytest.mark.parametrize("piece", [1 << 20, 1000])
async def test_a_head_that_is_just_not_too_large(piece: int) -> None:
    lines = b"".join(b"X-%03d: %s\r\n" % (i, b"x" * 300) for i in range(MAX_HEADERS - 2))
    request = HEAD % b"" + lines + b"Content-Length: 70000\r\n\r\n" + b"b" * 70_000
    assert MAX_HEAD * 0.9 < len(lines) < MAX_HEAD
    async with running() as server, server.connection() as (reader, writer):
        for start in range(0, len(request), piece):
            writer.write(request[start : start + piece])
            await writer.drain()
        assert (await reader.readuntil(b"    70000")).startswith(b"HTTP/1.1 200")


async def test_what_is_no_http() -> None:
    async with running() as server, server.connection() as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        check_refusal(await reader.read(), 400, "invalid_request_error")


@pytest.mark.parametrize("head", [b"P", HEAD % b"", HEAD % b"" + b"X: y\r\n"])
async def test_a_head_that_does_not_come(head: bytes) -> None:
    async with running(Impatient) as server, server.connection() as (reader, writer):
        writer.write(head)
        raw = await asyncio.wait_for(reader.read(), 20 * LATE)
        # Before a line is whole nobody knows that it is HTTP.
        if head != b"P":
            check_refusal(raw, 408, "request_timeout")


async def test_a_head_that_trickles() -> None:
    """What counts is the whole head, not the silence in it."""
    async with running(Impatient) as server, server.connection() as (reader, writer):
        writer.write(HEAD % b"")
        reading = asyncio.ensure_future(reader.read())
        with contextlib.suppress(ConnectionError):
            while not reading.done():
                writer.write(b"X: y\r\n")
                await asyncio.sleep(LATE / 10)
        check_refusal(await reading, 408, "request_timeout")


async def test_a_connection_on_which_nothing_comes() -> None:
    async with running(Impatient) as server, server.connection() as (reader, _):
        assert await asyncio.wait_for(reader.read(), 20 * LATE) == b""


async def test_a_connection_between_two_requests_is_kept() -> None:
    async with running(Impatient) as server, server.connection() as (reader, writer):
        for _ in range(2):
            writer.write(HEAD % b"" + b"Content-Length: 3\r\n\r\nabc")
            assert (await reader.readuntil(b"        3")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(3 * LATE)


async def test_an_answer_may_take_longer_than_the_request_may() -> None:
    async with running(Impatient) as server, server.connection() as (reader, writer):
        writer.write(HEAD % b"wait" + b"Content-Length: 3\r\n\r\nabc")
        await asyncio.sleep(3 * LATE)
        server.app.go.set()
        assert (await reader.readuntil(b"        3")).startswith(b"HTTP/1.1 200")


async def test_the_rest_of_a_refused_request_is_not_waited_for() -> None:
    async with running(Impatient) as server, server.connection() as (reader, writer):
        writer.write(HEAD % b"refuse" + b"Content-Length: 99\r\n\r\nabc")
        assert (await reader.readuntil(b"        0")).startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(reader.read(), 20 * LATE) == b""


async def test_an_answer_to_a_late_body_is_the_connections_end() -> None:
    async with running(Impatient) as server, server.connection() as (reader, writer):
        writer.write(HEAD % b"" + b"Content-Length: 3\r\n\r\nab")
        await asyncio.sleep(2 * LATE)
        writer.write(b"c")
        raw = await asyncio.wait_for(reader.read(), 20 * LATE)
        assert raw.startswith(b"HTTP/1.1 200") and raw.endswith(b"        3")


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    """Its application has given up, and the connection would be kept for what it doesn't take."""
    lost = asyncio.Event()

    class Watched(Impatient):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    async with running(Watched) as server, server.connection() as (_, writer):
        server.app.gives_up_after = LATE / 3
        writer.write(HEAD % b"flood" + b"Content-Length: 0\r\n\r\n")
        await asyncio.wait_for(lost.wait(), 20 * LATE)


async def test_a_client_that_takes_its_time_is_not() -> None:
    async with running(Impatient) as server, server.connection() as (reader, writer):
        writer.write(HEAD % b"flood" + b"Content-Length: 0\r\n\r\n")
        for _ in range(3):
            assert len(await reader.readexactly(8 << 20)) == 8 << 20
            await asyncio.sleep(LATE / 6)


async def test_a_broken_body_is_refused_once() -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    async with running() as server:
        async with server.connection() as (reader, writer):
            writer.write(HEAD % b"" + chunked + b"no number\r\n")
            check_refusal(await reader.read(), 400, "invalid_request_error")
            await asyncio.wait_for(server.app.left.wait(), 10)
        async with server.connection() as (reader, writer):
            writer.write(HEAD % b"wait" + chunked + b"1\r\nx\r\n0\r\n")
            writer.write(b"Authorization: late\r\n\r\n")
            server.app.go.set()
            await reader.readuntil(b"        1")
            assert b"authorization" not in dict(server.app.headers)


async def test_what_has_not_come_is_not_waited_for_at_the_end() -> None:
    async with running() as server, server.connection() as (reader, writer):
        writer.write(HEAD % b"" + b"Content-Length: 3\r\n\r\nab")
        while not server.app.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        server.server.should_exit = True
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert server.app.left.is_set()


class Crowded(BoundedProtocol):
    most_connections = staticmethod(lambda: 8)


async def test_idle_connections_make_room() -> None:
    """However many there are, and all of one address."""
    async with running(Crowded) as server, contextlib.AsyncExitStack() as held:
        idle = [await held.enter_async_context(server.connection()) for _ in range(30)]
        for _ in range(3):
            async with server.connection() as (reader, writer):
                writer.write(HEAD % b"" + b"Content-Length: 3\r\n\r\nabc")
                assert (await asyncio.wait_for(reader.readuntil(b"        3"), 10)).startswith(
                    b"HTTP/1.1 200"
                )
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(idle[0][0].read(), 10) == b""
        assert len(server.server.server_state.connections) <= 5


async def test_connections_at_work_do_not() -> None:
    async with running(Crowded) as server, contextlib.AsyncExitStack() as held:
        busy = [await held.enter_async_context(server.connection()) for _ in range(4)]
        for _, writer in busy:
            writer.write(HEAD % b"wait" + b"Content-Length: 3\r\n\r\nabc")
        while server.app.asked < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        async with server.connection() as (reader, _):
            check_refusal(await asyncio.wait_for(reader.read(), 10), 503, "too_many_connections")
        server.app.go.set()
        for reader, _ in busy:
            assert (await reader.readuntil(b"        3")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("caller", "kept"), [(Caller("k"), True), (UNAUTHENTICATED, False), (None, False)])
async def test_a_stranger_is_not_waited_for(caller: Caller | None, kept: bool) -> None:
    class Short(BoundedProtocol):
        strangers_keep_alive = LATE

    async with running(Short) as server, server.connection() as (reader, writer):
        server.app.caller = caller
        writer.write(HEAD % b"" + b"Content-Length: 3\r\n\r\nabc")
        assert (await reader.readuntil(b"        3")).startswith(b"HTTP/1.1 200")
        ended = asyncio.ensure_future(reader.read())
        await asyncio.wait([ended], timeout=4 * LATE if kept else 10)
        assert ended.done() is not kept
        ended.cancel()
