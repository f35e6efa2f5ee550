"""What is kept for clients that name it later: responses, their items, and conversations; within bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import structlog

from claude_server.core.entry import Entry
from claude_server.core.errors import ConversationNotFound, PreviousNotFound, RequestTooLarge
from claude_server.core.ports import ResponseStore, StoreError

# A step of a bound: there may be so much more until what is too old is removed. To look is not free.
_STEP = 100
# Seconds between two looks for what is too old.
_INTERVAL = 3600.0
# Turns that one response may follow on. The CLI takes some milliseconds for each.
_LONGEST = 10_000

log = structlog.get_logger("responses")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept for each owner: for `seconds` since its last use, `count` entries and `size` bytes at
    most. A count of 0 keeps nothing."""

    seconds: float = 30 * 24 * 3600.0
    count: int = 10_000
    size: int = 1024**3


class NotKept(Exception):
    """It is too large to be kept, or nothing is; the text says why."""


class KeptResponses:
    """Responses and conversations, each seen by its owner only. Methods raise StoreError.

    `load_limit`: bytes of a conversation that one request may go on with.
    """

    def __init__(
        self,
        store: ResponseStore,
        bounds: Bounds,
        load_limit: int = 20 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._bounds = bounds
        self._load_limit = load_limit
        self._clock = clock
        # What was saved since the bounds were looked at, by owner: entries and bytes.
        self._unseen: dict[str, tuple[int, int]] = {}

    @property
    def on(self) -> bool:
        """Is anything kept?"""
        return self._bounds.count > 0

    @property
    def _since(self) -> float:
        return self._clock() - self._bounds.seconds

    async def save(self, entry: Entry) -> None:
        """Keep an entry, and remove the oldest ones where there are too many. Raises NotKept."""
        size = len(entry.body) + len(entry.input) + len(entry.output)
        if not self.on:
            raise NotKept("nothing is kept on this server (RESPONSES_MAX=0)")
        if size > self._bounds.size:
            raise NotKept(f"it is larger than all that is kept ({self._bounds.size} bytes, RESPONSES_SIZE)")
        now = self._clock()
        await self._store.save(replace(entry, used_at=now))
        if entry.conversation:
            await self._store.touch(entry.owner, entry.conversation, now)
        await self._bound(entry.owner, size)

    async def _bound(self, owner: str, size: int) -> None:
        count, unseen = self._unseen.get(owner, (self._bounds.count, 0))
        count, unseen = count + 1, unseen + size
        if count > self._bounds.count // _STEP or unseen > self._bounds.size // _STEP:
            count = unseen = 0
            totals = await self._store.totals(owner)
            if totals.count > self._bounds.count or totals.size > self._bounds.size:
                await self._store.keep_newest(owner, self._bounds.count, self._bounds.size)
        self._unseen[owner] = count, unseen

    async def touch(self, owner: str, id: str) -> None:
        """Note that an entry is used."""
        await self._store.touch(owner, id, self._clock())

    async def load(self, owner: str, id: str) -> Entry | None:
        return await self._store.load(owner, id, self._since)

    async def chain(self, owner: str, id: str) -> Sequence[Entry]:
        """A response and those that it follows on, the first one first. Raises PreviousNotFound for one that
        isn't there, is no response, or follows on one that isn't there; and RequestTooLarge."""
        since = self._since
        size = await self._store.chain_size(owner, id, since, _LONGEST)
        if size.missing:
            raise PreviousNotFound(
                f"Previous response with id '{size.missing[:100]}' not found.", param="previous_response_id"
            )
        self._check_size(size.size)
        return await self._store.chain(owner, id, since, _LONGEST)

    async def conversation(self, owner: str, id: str) -> Sequence[Entry]:
        """The parts of a conversation, the first one first. Raises ConversationNotFound and
        RequestTooLarge."""
        found = await self.load(owner, id)
        if found is None or found.kind != "conversation":
            raise ConversationNotFound(f"Conversation with id '{id[:100]}' not found.", param="conversation")
        parts = await self._store.of_conversation(owner, id)
        self._check_size(sum(len(part.input) + len(part.output) for part in parts))
        return parts

    def _check_size(self, size: int) -> None:
        if size > self._load_limit:
            raise RequestTooLarge(
                f"The conversation is larger than {self._load_limit} bytes (MAX_REQUEST_SIZE): begin another."
            )

    async def before(self, entry: Entry) -> Sequence[Entry]:
        """What a response was made of beside its own input, as far as it is there."""
        if entry.conversation:
            parts = await self._store.of_conversation(entry.owner, entry.conversation)
            return parts[: next((n for n, part in enumerate(parts) if part.id == entry.id), 0)]
        return (await self._store.chain(entry.owner, entry.id, self._since, _LONGEST))[:-1]

    async def items(self, owner: str, ids: Collection[str]) -> dict[str, str]:
        """The JSON of those of the items that are there, by their ids."""
        return await self._store.items(owner, ids, self._since) if ids else {}

    async def delete(self, owner: str, id: str) -> bool:
        """Was there such an entry? Parts of a conversation go with it."""
        parts = await self._store.of_conversation(owner, id)
        return await self._store.delete(owner, [id, *(part.id for part in parts)]) > 0

    async def run(self) -> None:
        """Remove what is too old, at each interval, until cancelled."""
        while True:
            try:
                await self.expire()
            except StoreError as error:
                log.warning("old responses can't be removed; tried again later", problem=str(error))
            except Exception:
                # The edge of a task of its own: after it, nothing would be removed any more.
                log.exception("a fault of ours while old responses were removed")
            await asyncio.sleep(_INTERVAL)

    async def expire(self) -> int:
        """Remove what is too old. How many were removed?"""
        return await self._store.expire(self._since)
