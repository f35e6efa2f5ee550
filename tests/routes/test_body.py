"""A request's body, within bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from routes import body
from turns.errors import InvalidRequest, RequestTooLarge

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
