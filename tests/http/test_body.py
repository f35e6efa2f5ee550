"""A request's body, within bounds."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from claude_server.core.errors import InvalidRequest, QueueFull, RequestTooLarge
from claude_server.dialects.conversation import MAX_LENGTH
from claude_server.http import body
from claude_server.http.guard.keyfile import KeyFile
from claude_server.http.guard.keys import KeyLimits
from claude_server.http.state import Desk
from tests.http.guard.application import TOKEN, running

DISCONNECT: Message = {"type": "http.disconnect"}


def piece(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


class Client:
    """Sends what a test says, then nothing more."""

    def __init__(self, *messages: Message, declared: str | None = None) -> None:
        self.left = list(messages)
        headers = [] if declared is None else [(b"content-length", declared.encode("latin-1"))]
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": headers}
        self.request = Request(scope, self._receive)

    async def _receive(self) -> Message:
        if not self.left:
            await asyncio.Event().wait()
        return self.left.pop(0)


@pytest.mark.parametrize("declared", [None, "5", "0", "five", "-1", ""])
async def test_a_body_in_pieces(declared: str | None) -> None:
    client = Client(piece(b"ab"), piece(b""), piece(b"cde", False), declared=declared)
    assert await body.read_bounded(client.request, 5, 10.0) == b"abcde"


async def test_an_empty_body() -> None:
    assert await body.read_bounded(Client(piece(b"", False)).request, 5, 10.0) == b""


async def test_a_body_that_says_that_it_is_too_large() -> None:
    client = Client(piece(b"abcdef", False), declared="6")
    with pytest.raises(RequestTooLarge) as raised:
        await body.read_bounded(client.request, 5, 10.0)
    assert raised.value.message == "The body is larger than 5 bytes (MAX_REQUEST_SIZE)."
    # None of it was read.
    assert len(client.left) == 1


@pytest.mark.parametrize("declared", [None, "5"])
async def test_a_body_that_turns_out_to_be_too_large(declared: str | None) -> None:
    client = Client(piece(b"abc"), piece(b"def"), piece(b"ghi", False), declared=declared)
    with pytest.raises(RequestTooLarge):
        await body.read_bounded(client.request, 5, 10.0)
    assert len(client.left) == 1


async def test_a_body_that_does_not_come() -> None:
    with pytest.raises(InvalidRequest) as raised:
        await body.read_bounded(Client(piece(b"abc")).request, 5, 0.01)
    assert raised.value.message == "The body did not arrive within 0.01 s."


async def test_a_client_that_leaves_in_its_body() -> None:
    with pytest.raises(ClientDisconnect):
        await body.read_bounded(Client(piece(b"abc"), DISCONNECT).request, 5, 10.0)


async def test_only_the_waits_for_the_client_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine had something else to do while the body was there."""
    monkeypatch.setattr(body, "_WAIT", 0.01)
    client = Client(*[piece(b"x")] * 3, piece(b"y", False))
    receive = client.request.receive

    async def late() -> Message:
        message = await receive()
        time.sleep(0.1)  # noqa: ASYNC251
        return message

    monkeypatch.setattr(client.request, "_receive", late)
    assert await body.read_bounded(client.request, 5, 0.1) == b"xxxy"


async def test_waits_add_up() -> None:
    async def slow() -> Message:
        await asyncio.sleep(0.01)
        return piece(b"x")

    request = Request({"type": "http", "method": "POST", "headers": []}, slow)
    with pytest.raises(InvalidRequest, match="did not arrive within"):
        await body.read_bounded(request, 10_000, 0.1)


def large(desk: Desk) -> Request:
    """A request with a large body."""
    app = SimpleNamespace(state=SimpleNamespace(context=SimpleNamespace(desk=desk)))
    request = Request({"type": "http", "method": "POST", "headers": [], "app": app})
    request.state.body_size = 1 << 20
    return request


async def test_large_bodies_are_read_one_at_a_time_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_ROOM", 3)
    desk = Desk()
    running_now: list[int] = []
    most: list[int] = []
    go = threading.Event()

    def work() -> int:
        running_now.append(1)
        most.append(len(running_now))
        assert go.wait(10)
        running_now.pop()
        return threading.get_ident()

    asked = [asyncio.create_task(body.beside(large(desk), work)) for _ in range(3)]
    while not most:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    # The loop goes on, and has no room for a fourth one.
    with pytest.raises(QueueFull):
        await body.beside(large(desk), work)
    go.set()
    assert threading.get_ident() not in await asyncio.gather(*asked)
    assert max(most) == 1 and desk.waiting == 0


async def test_what_fails_beside_the_loop_gives_its_place_back() -> None:
    desk = Desk()

    def fails() -> None:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        await body.beside(large(desk), fails)
    assert desk.waiting == 0 and not desk.lock.locked()


MESSAGE = {"role": "user", "content": "x"}
PARTS = [{"type": "text", "text": "x"}] * MAX_LENGTH
CALLS = [{"id": "c", "function": {"name": "f"}}] * MAX_LENGTH


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([MESSAGE] * (MAX_LENGTH + 1), "messages"),
        ([{"role": "user", "content": PARTS}], "messages"),
        ([{"role": "assistant", "content": None, "tool_calls": CALLS}], "messages"),
        ([MESSAGE] * 60_000, None),
    ],
    ids=["messages", "parts", "calls", "values"],
)
async def test_too_many_of_anything_is_refused_before_it_is_looked_at(
    tmp_path: Path, messages: list[dict[str, Any]], param: str | None
) -> None:
    async with running(tmp_path) as app:
        # The schema would be refused, if anybody looked.
        broken = {"type": "function", "function": {"name": "f", "parameters": {"type": 5}}}
        answer = await app.chat({}, messages=messages, tools=[broken])
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param)
        assert "000" in error["message"] and len(error["message"]) < 200
        assert app.backend.asked == []


async def test_a_chat_that_is_just_not_too_long(tmp_path: Path) -> None:
    async with running(tmp_path) as app:
        assert (await app.chat({}, messages=[MESSAGE] * MAX_LENGTH)).status_code == 200
        (asked,) = app.backend.asked
        assert len(asked.turn.question.blocks) == MAX_LENGTH


async def test_a_model_that_the_key_may_not_use_is_refused_first(tmp_path: Path) -> None:
    async with running(tmp_path, api_key=TOKEN) as app:
        token = KeyFile(tmp_path).add("a", KeyLimits(models=("haiku",)))
        answer = await app.chat({"x-api-key": token}, messages=[MESSAGE] * (MAX_LENGTH + 1))
        assert answer.status_code == 404
