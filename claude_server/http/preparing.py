"""Brings together what a dialect needs to make turns of a request, and has it make them."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from claude_server.core.model import Image
from claude_server.dialects.base import Around, Dialect, Needs, Prepared, TurnBody
from claude_server.http import body
from claude_server.http import tool_requests as cli_tools
from claude_server.http.access import authorize
from claude_server.http.admin.cli_tools import resolve_tools
from claude_server.http.keeping import completed
from claude_server.http.state import app_context

_SOME_IMAGE = Image("image/png", "")


async def prepare(
    request: Request, dialect: Dialect[Any], asked: TurnBody, *, fetch: bool = True
) -> Prepared:
    """Authorize the parsed request `asked`, and make turns of it. The request's body must have been read.

    `fetch` off: no image is fetched, and any stands in for each of them. Raises TurnError.
    """
    # Before all else that its content costs.
    owner = authorize(request, asked.model)
    asked = await completed(request, dialect, asked, owner)
    needs = dialect.needs(asked)
    images = await _images(request, needs, fetch)
    headers = cli_tools.parse_headers(request.headers)
    tools = resolve_tools(request, headers, needs.session_id) if needs.enable_tools else None
    around = Around(
        id=uuid.uuid4().hex,
        created=int(time.time()),
        policy=app_context(request).policy,
        owner=owner,
        images=images,
        cli_tools=tools,
    )
    prepared = await body.beside(request, lambda: dialect.prepare(asked, around))
    if tools is None:
        # Headers about tools have no effect on a turn without tools.
        prepared = replace(prepared, ignored=(*prepared.ignored, *headers.given))
    return prepared


async def _images(request: Request, needs: Needs, fetch: bool) -> dict[str, Image]:
    fetcher = app_context(request).images
    if fetcher is None:
        return {}
    return await fetcher.fetch(needs.images) if fetch else dict.fromkeys(needs.images, _SOME_IMAGE)
