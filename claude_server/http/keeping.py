"""What is kept for clients, between a dialect and the store: read before a turn is prepared, written before
its end is told."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from claude_server.core.entry import Entry
from claude_server.core.errors import StateFailed
from claude_server.core.ports import StoreError
from claude_server.core.responses import KeptResponses, NotKept
from claude_server.dialects.base import Dialect, Keeper, Recalled, TurnBody, Wanted
from claude_server.http import body
from claude_server.http.state import app_context


async def completed(request: Request, dialect: Dialect[Any], asked: TurnBody, owner: str) -> TurnBody:
    """The request with what it names of what is kept. Raises TurnError."""
    memory = dialect.memory
    wanted = Wanted() if memory is None else memory.wanted(asked)
    if memory is None or wanted == Wanted():
        return asked
    try:
        recalled = await _recalled(app_context(request).kept, wanted, owner)
    except StoreError as error:
        raise StateFailed(f"What is kept can't be read: {error}. Try again later.") from error
    # It counts as part of the body: to read it takes as long.
    size = sum(map(len, (*recalled.lists, *recalled.items.values())))
    request.state.body_size = getattr(request.state, "body_size", 0) + size
    complete: TurnBody = await body.beside(request, lambda: memory.complete(asked, recalled))
    return complete


async def _recalled(kept: KeptResponses, wanted: Wanted, owner: str) -> Recalled:
    entries: list[Entry] = []
    if wanted.previous is not None:
        entries += await kept.chain(owner, wanted.previous)
    if wanted.conversation is not None:
        entries += await kept.conversation(owner, wanted.conversation)
    lists = tuple(part for entry in entries for part in (entry.input, entry.output))
    return Recalled(lists, await kept.items(owner, wanted.items))


async def keep(kept: KeptResponses, keeper: Keeper) -> bool:
    """Keep an answer that has ended. One that can't be kept says so itself, and this is False."""
    try:
        await kept.save(keeper.entry())
    except (StoreError, NotKept) as error:
        keeper.not_kept(str(error))
        return False
    return True
