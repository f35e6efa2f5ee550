"""A request's body, read within bounds."""

from __future__ import annotations

import anyio
from starlette.requests import Request

from turns.errors import InvalidRequest, RequestTooLarge


async def read(request: Request, limit: int, within: float) -> bytes:
    """The body, of at most `limit` bytes, which must be there `within` seconds.

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
