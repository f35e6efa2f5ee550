"""/v1/conversations: conversations that the server keeps, for requests that name one."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from claude_server.core.entry import Entry
from claude_server.core.errors import ResponseNotFound, StateFailed
from claude_server.core.responses import NotKept
from claude_server.dialects.responses.memory import ids, items_of_parts, kept_items, shown_items
from claude_server.dialects.responses.wire import AnyItem
from claude_server.http import body
from claude_server.http.admin.pages_of_items import Order, page
from claude_server.http.admin.responses import AsksThoughts, Limit
from claude_server.http.admin.wire import responses as wire
from claude_server.http.guard.caller import caller_of
from claude_server.http.openapi import json_body
from claude_server.http.state import app_context

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])


def _made(entry: Entry) -> wire.Conversation:
    return wire.Conversation(id=entry.id, created_at=int(entry.created_at), metadata=json.loads(entry.body))


def _items(owner: str, conversation: str, items: list[AnyItem]) -> Entry:
    """Items as a part of a conversation."""
    stem, now = uuid.uuid4().hex, time.time()
    kept = kept_items(items, stem)
    return Entry(
        *(owner, f"items_{stem}", "items", now, now),
        conversation=conversation,
        item_ids=ids(kept),
        input=json.dumps(kept),
    )


async def _save(request: Request, entry: Entry) -> None:
    try:
        await app_context(request).kept.save(entry)
    except NotKept as error:
        raise StateFailed(f"It can't be kept: {error}.") from None


async def _load(request: Request, id: str) -> tuple[Entry, list[Entry]]:
    """The caller's conversation and its parts. Raises ConversationNotFound."""
    kept = app_context(request).kept
    owner = caller_of(request.scope).id
    parts = await kept.conversation(owner, id)
    found = await kept.load(owner, id)
    assert found is not None
    return found, list(parts)


@router.post("", openapi_extra=json_body(wire.ConversationCreate))
async def create_conversation(request: Request) -> wire.Conversation:
    """Begin a conversation."""
    asked = await body.parse_body(request, wire.ConversationCreate)
    owner, now = caller_of(request.scope).id, time.time()
    made = Entry(
        *(owner, f"conv_{uuid.uuid4().hex}", "conversation", now, now), body=json.dumps(asked.metadata or {})
    )
    await _save(request, made)
    if asked.items:
        await _save(request, _items(owner, made.id, asked.items))
    return _made(made)


@router.get("/{id}")
async def get_conversation(request: Request, id: str) -> wire.Conversation:
    """A conversation, without its items."""
    return _made((await _load(request, id))[0])


@router.post("/{id}", openapi_extra=json_body(wire.ConversationUpdate))
async def update_conversation(request: Request, id: str) -> wire.Conversation:
    """Put other metadata in place of what there is."""
    asked = await body.parse_body(request, wire.ConversationUpdate)
    found, _ = await _load(request, id)
    changed = replace(found, body=json.dumps(asked.metadata))
    await _save(request, changed)
    return _made(changed)


@router.delete("/{id}")
async def delete_conversation(request: Request, id: str) -> wire.ConversationDeleted:
    """Erase a conversation, with its items and the responses in it."""
    found, _ = await _load(request, id)
    await app_context(request).kept.delete(found.owner, found.id)
    return wire.ConversationDeleted(id=found.id)


@router.post("/{id}/items", openapi_extra=json_body(wire.ItemsCreate))
async def create_items(request: Request, id: str) -> wire.ItemList:
    """Add items to a conversation."""
    asked = await body.parse_body(request, wire.ItemsCreate)
    found, _ = await _load(request, id)
    made = _items(found.owner, found.id, asked.items)
    await _save(request, made)
    return page(shown_items(made.input, thoughts=False), "asc", len(asked.items), None)


@router.get("/{id}/items")
async def list_items(
    request: Request,
    id: str,
    thoughts: AsksThoughts,
    limit: Limit = 20,
    order: Order = "desc",
    after: str | None = None,
) -> wire.ItemList:
    """A page of a conversation's items."""
    _, parts = await _load(request, id)
    return page(items_of_parts(parts, thoughts=thoughts), order, limit, after)


@router.get("/{id}/items/{item_id}")
async def get_item(request: Request, id: str, item_id: str) -> dict[str, Any]:
    """One item of a conversation."""
    _, parts = await _load(request, id)
    for item in items_of_parts(parts, thoughts=False):
        if item["id"] == item_id:
            return item
    raise ResponseNotFound(f"Item with id '{item_id[:100]}' not found.")


@router.delete("/{id}/items/{item_id}")
async def delete_item(request: Request, id: str, item_id: str) -> wire.Conversation:
    """Take an item out of a conversation, and of the response that it came with."""
    found, parts = await _load(request, id)
    for part in parts:
        given, said = json.loads(part.input), json.loads(part.output)
        left = [[one for one in items if one["id"] != item_id] for items in (given, said)]
        if left == [given, said]:
            continue
        changed = replace(
            part,
            item_ids=ids([*left[0], *left[1]]),
            input=json.dumps(left[0]),
            output=json.dumps(left[1]),
        )
        await _save(request, changed)
        return _made(found)
    raise ResponseNotFound(f"Item with id '{item_id[:100]}' not found.")
