"""What a request names of what is kept, and what is kept of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from claude_server.core.entry import Entry
from claude_server.core.errors import InvalidRequest, ResponseNotFound
from claude_server.dialects.base import Memory, Recalled, Wanted
from claude_server.dialects.responses import wire
from claude_server.dialects.responses.history import items_of

Fields = dict[str, Any]
_ITEMS: TypeAdapter[list[wire.AnyItem]] = TypeAdapter(list[wire.AnyItem])
_ITEM: TypeAdapter[wire.AnyItem] = TypeAdapter(wire.AnyItem)
_PREFIXES = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}
_THOUGHT = "encrypted_content"


def wanted(request: wire.ResponsesRequest) -> Wanted:
    """What has to be looked up. Raises InvalidRequest."""
    if request.previous_response_id is not None and request.conversation is not None:
        raise InvalidRequest(
            "'previous_response_id' and 'conversation' can't be had together: name one of them.",
            param="previous_response_id",
        )
    references = (item.id for item in items_of(request) if isinstance(item, wire.ReferenceItem))
    return Wanted(request.previous_response_id, conversation_id(request), tuple(dict.fromkeys(references)))


def conversation_id(request: wire.ResponsesRequest) -> str | None:
    named = request.conversation
    return named.id if isinstance(named, wire.ConversationName) else named


def complete(request: wire.ResponsesRequest, recalled: Recalled) -> wire.ResponsesRequest:
    """The request with the items that it follows on before its own, and items in place of references.
    Raises ResponseNotFound."""
    before = [item for each in recalled.lists for item in _ITEMS.validate_json(each)]
    own = [found for item in items_of(request) if (found := _resolved(item, recalled)) is not None]
    made = request.model_copy(update={"input": [*before, *own]})
    made._before = len(before)
    return made


def _resolved(item: wire.AnyItem, recalled: Recalled) -> wire.AnyItem | None:
    """The item that is meant; None for thinking that isn't kept."""
    if not isinstance(item, wire.ReferenceItem):
        return item
    found = recalled.items.get(item.id)
    if found is not None:
        return _ITEM.validate_json(found)
    if item.id.startswith("rs_"):
        return None
    raise ResponseNotFound(f"Item with id '{item.id[:100]}' not found.", param="input")


MEMORY = Memory(wanted, complete)


def kept_items(items: Sequence[wire.AnyItem], stem: str) -> list[Fields]:
    """Items as they are kept: each with an id, a message with its parts. `stem`: hexadecimal digits, of
    which those that have no id get one."""
    return [_kept(item, f"{stem}i{number:04x}") for number, item in enumerate(items)]


def _kept(item: wire.AnyItem, name: str) -> Fields:
    fields = item.model_dump(exclude_unset=True)
    kind = fields.get("type") or "message"
    id = item.id or f"{_PREFIXES.get(kind, 'item')}_{name}"
    made = {**fields, "id": id, "type": kind}
    if isinstance(item, wire.MessageItem):
        part = "output_text" if item.role == "assistant" else "input_text"
        content = made.get("content") or []
        if isinstance(content, str):
            more: Fields = {"annotations": []} if part == "output_text" else {}
            content = [{"type": part, "text": content, **more}]
        made |= {"status": "completed", "content": content}
    return made


def ids(items: Sequence[Fields]) -> tuple[str, ...]:
    """The ids of kept items, once each."""
    return tuple(dict.fromkeys(item["id"] for item in items if isinstance(item.get("id"), str)))


def shown_items(kept: str, *, thoughts: bool) -> list[Fields]:
    """Kept items as they are shown: `thoughts` says whether signed ones are."""
    items: list[Fields] = json.loads(kept)
    if thoughts:
        return items
    return [
        {name: value for name, value in item.items() if name != _THOUGHT or item["type"] != "reasoning"}
        for item in items
    ]


def items_of_parts(parts: Sequence[Entry], *, thoughts: bool) -> list[Fields]:
    """The items of parts of a conversation as they are shown, in order."""
    return [
        item
        for part in parts
        for kept in (part.input, part.output)
        for item in shown_items(kept, thoughts=thoughts)
    ]
