"""An answer as server-sent events, to a client that does what a test says."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from starlette.types import Message

from claude_server.core.drain import Drain
from claude_server.core.errors import NotReady, Overloaded, TurnError
from claude_server.dialects.base import Presenter, ServerEvent
from claude_server.dialects.chat.answer import AnswerContext
from claude_server.dialects.chat.presenter import ChatPresenter
from claude_server.http.sse import EventStream, StreamTimings, encoded
from tests.dialects.toy import ToyPresenter

LONG = 600.0
PING = b": ping\n"
PATIENCE = 10.0
HEAD = {"id": "c-1", "created": 1, "model": "sonnet", "object": "chat.completion.chunk"}
PRESENTER = ChatPresenter(AnswerContext("c-1", "sonnet", 1))
DONE = encoded(PRESENTER.end())
Step = bytes | TurnError | asyncio.Event


def event(data: bytes) -> bytes:
    return encoded([ServerEvent(data)])


class Source:
    """Yields data, raises errors, waits at events; `closed` when it is."""

    def __init__(self, *steps: Step) -> None:
        self._steps = steps
        self.reached = asyncio.Event()
        self.closed = asyncio.Event()
        self.taken = 0

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            for step in self._steps:
                if isinstance(step, TurnError):
                    raise step
                if isinstance(step, bytes):
                    yield step
                    self.taken += 1
                else:
                    self.reached.set()
                    await step.wait()
        finally:
            self.closed.set()


class Client:
    """Takes what is sent until `full` holds; hangs up when `leaves` is set."""

    def __init__(self, full: Callable[[Message], bool] = lambda message: False) -> None:
        self.messages: list[Message] = []
        self.leaves = asyncio.Event()
        self.scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
        self.drain = Drain()
        self._full = full
        self._more = asyncio.Condition()

    async def receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._full(message):
            await asyncio.Event().wait()
        async with self._more:
            self.messages.append(message)
            self._more.notify_all()

    async def gets(self, fact: Callable[[bytes], bool]) -> None:
        """Wait until what has come is so."""
        async with self._more:
            await self._more.wait_for(lambda: fact(self.body))

    async def ask(
        self,
        source: Source,
        times: StreamTimings,
        headers: dict[str, str] | None = None,
        presenter: Presenter = PRESENTER,
    ) -> None:
        stream = EventStream(
            source.events(), presenter, {} if headers is None else headers, times, self.drain
        )
        await asyncio.wait_for(stream(self.scope, self.receive, self.send), PATIENCE)
        assert source.closed.is_set()

    @property
    def status(self) -> int | None:
        statuses = [m["status"] for m in self.messages if m["type"] == "http.response.start"]
        assert len(statuses) <= 1
        return statuses[0] if statuses else None

    @property
    def headers(self) -> dict[str, str]:
        (start,) = [m for m in self.messages if m["type"] == "http.response.start"]
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.messages if m["type"] == "http.response.body")

    @property
    def complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", False)

    @property
    def outcome(self) -> object:
        return self.scope.get("claude_api_facts", {}).get("outcome")


class Now:
    """In the place of the module `time`."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def data_of(message: Message) -> bytes:
    return bytes(message.get("body", b""))


def is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body")


async def test_a_stream() -> None:
    client = Client()
    headers = {"x-ignored-params": "seed"}
    await client.ask(Source(event(b"1"), event(b"2"), DONE), StreamTimings(LONG, LONG, LONG), headers)
    assert (client.status, client.complete, client.outcome) == (200, True, None)
    assert client.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert client.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x-ignored-params": "seed",
    }


async def test_headers_may_come_until_the_first_data() -> None:
    client, go = Client(), asyncio.Event()
    headers: dict[str, str] = {}
    source = Source(go, event(b"1"))
    asking = asyncio.create_task(client.ask(source, StreamTimings(LONG, LONG, LONG), headers))
    await source.reached.wait()
    assert client.messages == []
    headers["x-claude-session"] = "created"
    go.set()
    await asking
    assert client.headers["x-claude-session"] == "created"


# Errors


async def test_an_error_before_the_first_data_has_its_own_status() -> None:
    client = Client()
    await client.ask(Source(NotReady("log in")), StreamTimings(LONG, LONG, LONG))
    assert (client.status, client.complete, client.outcome) == (503, True, "cli_not_ready")
    assert client.headers["content-type"] == "application/json"
    assert client.headers["x-should-retry"] == "false"
    assert json.loads(client.body)["error"]["message"] == "log in"


async def test_an_error_after_the_first_data_is_an_event_and_the_last() -> None:
    client = Client()
    await client.ask(Source(event(b"1"), Overloaded("busy"), DONE), StreamTimings(LONG, LONG, LONG))
    assert (client.status, client.complete, client.outcome) == (200, True, "overloaded")
    first, error, rest = client.body.split(b"\n\n")
    assert (first, rest) == (b"data: 1", b"")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "overloaded"


async def test_an_error_after_a_ping_is_an_event() -> None:
    client, go = Client(), asyncio.Event()
    asking = asyncio.create_task(client.ask(Source(go, Overloaded("busy")), StreamTimings(0.0, LONG, LONG)))
    await client.gets(lambda body: body == PING)
    go.set()
    await asking
    assert (client.status, client.complete) == (200, True)
    assert client.body.startswith(PING + b'data: {"error":')


# Pings


async def test_pings_in_silence() -> None:
    client, go = Client(), asyncio.Event()
    source = Source(event(b"1"), go, event(b"2"))
    asking = asyncio.create_task(client.ask(source, StreamTimings(0.01, 0.01, LONG)))
    await client.gets(lambda body: body.count(PING) >= 3)
    go.set()
    await asking
    assert client.body.replace(PING, b"") == b"data: 1\n\ndata: 2\n\n"
    assert client.body.startswith(b"data: 1\n\n") and client.body.endswith(b"data: 2\n\n")


def go_events(data: bytes) -> list[bytes]:
    """The events as OpenAI's client for Go reads them: each empty line ends one, with data or without."""
    found, event_data = [], b""
    for line in data.split(b"\n")[:-1]:
        name, _, value = line.partition(b":")
        if not line:
            found.append(event_data)
            event_data = b""
        elif name == b"data":
            event_data += value.removeprefix(b" ") + b"\n"
    return found


async def streamed_with_pings(*answer: bytes) -> bytes:
    """What a client gets if there is silence before each of the events."""
    client, go = Client(), [asyncio.Event() for _ in answer]
    steps: Iterable[Step] = itertools.chain(*zip(go, answer, strict=True))
    source = Source(*steps)
    asking = asyncio.create_task(client.ask(source, StreamTimings(0.005, 0.005, LONG)))
    for number, gate in enumerate(go):
        await client.gets(lambda body, sent=number: body.count(PING) > 3 * sent)  # type: ignore[misc]
        gate.set()
        if number + 1 < len(go):
            await client.gets(lambda body, sent=number: body.count(b"data: ") > sent)  # type: ignore[misc]
    await asking
    return client.body


async def test_a_ping_is_no_event() -> None:
    """An event without data is one that OpenAI's client for Go can't read."""
    body = await streamed_with_pings(event(b'{"a": 1}'), event(b'{"a": 2}'), DONE)
    assert body.count(PING) >= 3
    assert go_events(body) == [b'{"a": 1}\n', b'{"a": 2}\n', b"[DONE]\n"]


async def test_the_sdk_reads_over_pings() -> None:
    """The chunk behind a ping is read like any other."""
    chunks = [
        {**HEAD, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in ("One, ", "two.")
    ]
    body = await streamed_with_pings(*(event(json.dumps(chunk).encode()) for chunk in chunks), DONE)
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=body, headers=headers))
    async with httpx2.AsyncClient(transport=transport) as http:
        client = AsyncOpenAI(base_url="http://test/v1", api_key="k", http_client=http)
        stream = await client.chat.completions.create(
            model="sonnet", messages=[{"role": "user", "content": "count"}], stream=True
        )
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["One, ", "two."]


async def test_no_ping_before_the_hold_is_over() -> None:
    client, go = Client(), asyncio.Event()
    source = Source(go, event(b"1"))
    asking = asyncio.create_task(client.ask(source, StreamTimings(LONG, 0.0, LONG)))
    await source.reached.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.messages == []
    go.set()
    await asking
    assert client.body == b"data: 1\n\n"


async def test_no_ping_while_data_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silence is counted from the last data, not from the last ping."""
    now, naps = Now(), asyncio.Queue[float]()
    wakes = asyncio.Queue[None]()

    async def sleep(seconds: float) -> None:
        naps.put_nowait(seconds)
        await wakes.get()

    monkeypatch.setattr("claude_server.http.sse.anyio.sleep", sleep)
    monkeypatch.setattr("claude_server.http.sse.time", now)
    client, go, end = Client(), asyncio.Event(), asyncio.Event()
    source = Source(event(b"1"), go, event(b"2"), end)
    asking = asyncio.create_task(client.ask(source, StreamTimings(10.0, 15.0, LONG)))
    assert await naps.get() == 10.0
    await source.reached.wait()
    now.seconds = 10.0
    wakes.put_nowait(None)
    assert await naps.get() == 5.0
    now.seconds = 12.0
    go.set()
    await client.gets(lambda body: body.endswith(b"data: 2\n\n"))
    now.seconds = 15.0
    wakes.put_nowait(None)
    assert await naps.get() == 12.0
    now.seconds = 27.0
    wakes.put_nowait(None)
    assert await naps.get() == 15.0
    end.set()
    await asking
    assert client.body == b"data: 1\n\ndata: 2\n\n" + PING


# Clients that leave


async def test_a_client_that_hangs_up_ends_the_work() -> None:
    client = Client()
    source = Source(event(b"1"), asyncio.Event())
    asking = asyncio.create_task(client.ask(source, StreamTimings(LONG, LONG, LONG)))
    await source.reached.wait()
    client.leaves.set()
    await asking
    assert (client.complete, client.outcome) == (False, "client_gone")


async def test_a_client_that_takes_no_data_ends_the_work() -> None:
    client = Client(lambda message: data_of(message) == b"data: 2\n\n")
    source = Source(event(b"1"), event(b"2"), event(b"3"))
    await client.ask(source, StreamTimings(LONG, LONG, 0.01))
    assert (client.body, source.taken) == (b"data: 1\n\n", 1)
    assert (client.complete, client.outcome) == (False, "client_gone")


async def test_a_client_that_takes_no_ping_ends_the_work() -> None:
    client = Client(lambda message: data_of(message) == PING)
    await client.ask(Source(event(b"1"), asyncio.Event()), StreamTimings(0.0, 0.0, 0.01))
    assert (client.body, client.outcome) == (b"data: 1\n\n", "client_gone")


async def test_a_client_that_hangs_up_after_the_end_was_there() -> None:
    client = Client(is_last)
    asking = asyncio.create_task(client.ask(Source(event(b"1"), DONE), StreamTimings(LONG, LONG, LONG)))
    await client.gets(lambda body: body.endswith(DONE))
    for _ in range(20):
        await asyncio.sleep(0)
    client.leaves.set()
    await asking
    assert client.outcome is None


async def test_pings_and_errors_are_the_presenters() -> None:
    client, go = Client(), asyncio.Event()
    times = StreamTimings(0.01, 0.01, LONG)
    source = Source(event(b"1"), go, Overloaded("x"))
    asking = asyncio.create_task(client.ask(source, times, presenter=ToyPresenter()))
    await client.gets(lambda body: b"toy.ping" in body)
    go.set()
    await asking
    first, *pings, last = client.body.removesuffix(b"\n\n").split(b"\n\n")
    assert first == b"data: 1"
    assert pings == [b'event: toy.ping\ndata: {"number": %d}' % (n + 1) for n in range(len(pings))]
    assert last == b'event: toy.oops\ndata: {"number": %d, "code": "overloaded"}' % (len(pings) + 1)
