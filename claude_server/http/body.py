"""Reads a request's body, with limits of size and time, and parses it without holding the others up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from claude_server.core import strict_json
from claude_server.core.errors import InvalidRequest, QueueFull, RequestTooLarge
from claude_server.http import complaints, encoding
from claude_server.http.state import app_context

_Body = TypeVar("_Body", bound=BaseModel)
_T = TypeVar("_T")
# Bytes. What is made of a smaller body takes a few milliseconds.
_SMALL = 64 * 1024
# Seconds of one wait for more of a body. A machine that had something else to do in the meantime counts as
# one of these.
_WAIT = 1.0
# Seconds that the waits for a body may take together.
_WITHIN = 15.0
# How many large bodies may wait to be read, with the one that is.
_ROOM = 16


async def parse_body(request: Request, kind: type[_Body]) -> _Body:
    """Parse the body as `kind`. Raises InvalidRequest, and what `read_body` raises."""
    raw = await read_body(request)

    def parse() -> _Body:
        try:
            return kind.model_validate_json(raw)
        except ValidationError as error:
            raise complaints.invalid(error, raw) from None

    return await beside(request, parse)


async def read_body(request: Request) -> bytes:
    """Read the body, with the application's limits, as UTF-8. Raises what `read_bounded` raises, and
    InvalidRequest for another encoding and for one that holds more values than anybody needs."""
    raw = await read_bounded(request, app_context(request).max_request_size, _WITHIN)
    request.state.body_size = len(raw)
    kind, packed = (request.headers.get(name, "") for name in ("content-type", "content-encoding"))
    raw = await beside(request, lambda: encoding.utf8(raw, kind, packed))
    if await beside(request, lambda: strict_json.has_too_many_values(raw)):
        raise InvalidRequest(
            f"The body holds more than {strict_json.MAX_VALUES} JSON values (objects, lists, texts and "
            "numbers): send fewer."
        )
    return raw


async def beside(request: Request, work: Callable[[], _T]) -> _T:
    """Do what may take long with a large body in a thread, one at a time; with a small one at once.

    The body must have been read. Raises QueueFull, and what `work` raises.
    """
    if getattr(request.state, "body_size", 0) <= _SMALL:
        return work()
    desk = app_context(request).desk
    if desk.waiting >= _ROOM:
        raise QueueFull("Too many large requests wait to be read. Try again later.", retry_after=1.0)
    desk.waiting += 1
    try:
        async with desk.lock:
            return await anyio.to_thread.run_sync(work)
    finally:
        desk.waiting -= 1


async def read_bounded(request: Request, limit: int, within: float) -> bytes:
    """Read the body: at most `limit` bytes; the waits for the client may take `within` seconds together.

    Raises RequestTooLarge, InvalidRequest, and starlette's ClientDisconnect.
    """
    pieces: list[bytes] = []
    size = 0
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    waited = 0.0
    more = True
    while more:
        message = None
        began = time.monotonic()
        with anyio.move_on_after(min(_WAIT, within - waited)):
            message = await request.receive()
        waited += min(_WAIT, time.monotonic() - began)
        if message is None:
            if waited >= within:
                raise InvalidRequest(f"The body did not arrive within {within:g} s.")
            continue
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(message["body"])
        if size > limit:
            raise _too_large(limit)
        pieces.append(message["body"])
        more = message["more_body"]
    return b"".join(pieces)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {limit} bytes (MAX_REQUEST_SIZE).")
