"""Reads a request's body, with limits of size and time."""

from __future__ import annotations

from typing import TypeVar

import anyio
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from routes import errors
from routes.state import app_context
from turns.errors import InvalidRequest, RequestTooLarge

_Body = TypeVar("_Body", bound=BaseModel)


async def parse_body(request: Request, kind: type[_Body]) -> _Body:
    """Parse the body as `kind`. Raises InvalidRequest, and what `read_bounded` raises."""
    raw = await read_body(request)
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise errors.invalid(error) from None


async def read_body(request: Request) -> bytes:
    """Read the body, with the application's limits. Raises what `read_bounded` raises."""
    context = app_context(request)
    return await read_bounded(request, context.max_request_size, context.body_within)


async def read_bounded(request: Request, limit: int, within: float) -> bytes:
    """Read the body: at most `limit` bytes, which must arrive within `within` seconds.

    Raises RequestTooLarge, InvalidRequest, and starlette's ClientDisconnect.
    """
    pieces: list[bytes] = []
    size = 0
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    try:
        with anyio.fail_after(within):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise _too_large(limit)
                pieces.append(piece)
    except TimeoutError:
        raise InvalidRequest(f"The body did not arrive within {within:g} s.") from None
    return b"".join(pieces)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {limit} bytes (MAX_REQUEST_SIZE).")
