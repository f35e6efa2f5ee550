"""GET and DELETE /v1/responses/{id}, and the items that a response was made of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from starlette.requests import Request
from starlette.responses import Response

from claude_server.core.entry import Entry
from claude_server.core.errors import InvalidRequest, ResponseNotFound
from claude_server.dialects.responses import shown
from claude_server.dialects.responses.memory import items_of_parts, shown_items
from claude_server.http import background
from claude_server.http.admin.pages_of_items import Order, page
from claude_server.http.admin.wire import responses as wire
from claude_server.http.guard.caller import caller_of
from claude_server.http.state import app_context

router = APIRouter(tags=["responses"])
_THOUGHTS = "reasoning.encrypted_content"


async def _asks_thoughts(
    include: Annotated[list[str] | None, Query()] = None,
    # The openai SDK writes the name of a list with brackets.
    brackets: Annotated[list[str] | None, Query(alias="include[]")] = None,
) -> bool:
    return _THOUGHTS in (*(include or ()), *(brackets or ()))


# Does the query of a request ask for signed thoughts?
AsksThoughts = Annotated[bool, Depends(_asks_thoughts)]
Limit = Annotated[int, Query(ge=1, le=100)]


async def load(request: Request, id: str) -> Entry:
    """The caller's response. Raises ResponseNotFound."""
    found = await app_context(request).kept.load(caller_of(request.scope).id, id)
    if found is None or found.kind != "response":
        raise ResponseNotFound(f"Response with id '{id[:100]}' not found.")
    return await background.seen(request, found)


@router.get("/v1/responses", include_in_schema=False)
async def no_websockets(request: Request) -> None:
    """Codex asks for one first; this answer lets it go on over HTTP at once."""
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise HTTPException(405, headers={"Allow": "POST"})
    raise HTTPException(426, "No WebSockets are spoken here: send the request by POST, over HTTP.")


@router.get("/v1/responses/{id}", response_model=shown.Response)
async def get_response(
    request: Request,
    id: str,
    thoughts: AsksThoughts,
    stream: bool = False,
    starting_after: int | None = None,
) -> Response:
    """A response that is kept; or, with `stream`, the events of one that was made in the background."""
    found = await load(request, id)
    if stream:
        return background.follow(request, found, starting_after)
    return Response(whole(found, thoughts=thoughts), media_type="application/json")


def whole(entry: Entry, *, thoughts: bool) -> bytes:
    """A kept response as it was answered."""
    body = {**json.loads(entry.body), "output": shown_items(entry.output, thoughts=thoughts)}
    return json.dumps(body, ensure_ascii=False).encode()


@router.post("/v1/responses/{id}/cancel", response_model=shown.Response)
async def cancel_response(request: Request, id: str) -> Response:
    """End a response that is made in the background. One that has ended stays as it is."""
    found = await load(request, id)
    if not json.loads(found.body)["background"]:
        raise InvalidRequest("Only a response that was made with 'background' can be cancelled.")
    context = app_context(request)
    if context.jobs.running(found.owner, id) is not None:
        await context.jobs.cancel(found.owner, id)
        found = await load(request, id)
    elif background.status_of(found) in background.UNDER_WAY:
        # The server that makes it looks for that.
        found = replace(found, body=json.dumps({**json.loads(found.body), "status": "cancelled"}))
        await context.kept.save(found)
    return Response(whole(found, thoughts=False), media_type="application/json")


@router.delete("/v1/responses/{id}")
async def delete_response(request: Request, id: str) -> wire.ResponseDeleted:
    """Erase a response and its items. Responses that follow on it can't be gone on with any more."""
    found = await load(request, id)
    await app_context(request).jobs.cancel(found.owner, found.id)
    await app_context(request).jobs.forget(found)
    await app_context(request).kept.delete(found.owner, found.id)
    return wire.ResponseDeleted(id=found.id)


@router.get("/v1/responses/{id}/input_items")
async def input_items(
    request: Request,
    id: str,
    thoughts: AsksThoughts,
    limit: Limit = 20,
    order: Order = "desc",
    after: str | None = None,
) -> wire.ItemList:
    """A page of all items that a response was made of: those that it follows on, and its own."""
    found = await load(request, id)
    items = items_of_parts(await app_context(request).kept.before(found), thoughts=thoughts)
    return page([*items, *shown_items(found.input, thoughts=thoughts)], order, limit, after)
