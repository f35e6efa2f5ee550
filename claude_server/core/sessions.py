"""Sessions: maps a client's session id to a CLI conversation, and admits one turn at a time to each.

A store keeps the records; the conversation itself is the CLI's transcript. A session that isn't used for a
while expires and is no longer listed. Only `Session.delete` removes its record.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from claude_server.core.ports import (
    Acquire,
    OwnerNotes,
    SessionCounts,
    SessionLocks,
    SessionOwnedByOther,
    SessionRecord,
    SessionStore,
    SessionSummary,
)

# Sessions in one list: more would hold the event loop while they are written.
LONGEST_PAGE = 500
# Names that aren't UUIDs are mapped to one in this namespace; changing it would orphan every such session.
_NAMESPACE = uuid.UUID("6f0b1d0c-6c62-4d0f-9f8e-1f3b5a1c7a21")


def session_uuid(owner: str, session_id: str) -> str:
    """The CLI's name for a session: a UUID in any case as it is, anything else mapped to one."""
    with suppress(ValueError):
        name = str(uuid.UUID(session_id))
        # The parser also takes other spellings; those are names like any other.
        if name == session_id.lower():
            return name
    return str(uuid.uuid5(_NAMESPACE, f"{owner}\n{session_id}"))


class Sessions:
    """Session id to record and lock. A session expires `ttl` seconds after its last use."""

    def __init__(
        self,
        store: SessionStore,
        locks: SessionLocks,
        notes: OwnerNotes,
        ttl: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.locks = locks
        self.notes = notes
        self.ttl = ttl
        self.clock = clock

    async def open(self) -> None:
        """Open locks and records. Raises StoreError; then nothing stays open."""
        try:
            await self.locks.open()
            await self.store.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close records and locks. Idempotent."""
        try:
            await self.store.close()
        finally:
            await self.locks.close()

    @asynccontextmanager
    async def hold(self, owner: str, session_id: str, acquire: Acquire) -> AsyncIterator[Session]:
        """Hold a session for one turn. Waits, through `acquire`, for a turn that runs in it.

        Raises SessionOwnedByOther if the UUID is another owner's session, StoreError.
        """
        name = session_uuid(owner, session_id)
        async with self.locks.hold(name, acquire):
            yield await self._session(owner, session_id, name)

    async def _session(self, owner: str, session_id: str, name: str) -> Session:
        record = await self.store.load(name)
        noted = await self.notes.is_owner(name, owner) if owner else None
        if noted is False or (record is not None and record.owner != owner):
            raise SessionOwnedByOther
        if record is not None:
            # One UUID can be written in capitals or not: the same session for the same owner.
            record = replace(record, session_id=session_id)
        return Session(self, record, owner, session_id, name, noted=noted is True)

    # Expiry

    def expires_at(self, record: SessionRecord | SessionSummary) -> float:
        """When the session expires if it isn't used again; seconds since the epoch."""
        return record.last_used + self.ttl

    async def active(self, owner: str, limit: int = LONGEST_PAGE, offset: int = 0) -> list[SessionSummary]:
        """A page of the owner's sessions that haven't expired, the one that was used last first."""
        return await self.store.active(owner, self._expiry_cutoff(), limit, offset)

    async def counts(self, owner: str) -> SessionCounts:
        """How many sessions the owner has."""
        return await self.store.counts(owner, self._expiry_cutoff())

    async def renew(self, owner: str, session_id: str) -> SessionRecord | None:
        """A session that hasn't expired, used now; None if there is none. Waits for nothing."""
        name = session_uuid(owner, session_id)
        return await self.store.touch(name, owner, self.clock(), self._expiry_cutoff())

    async def expired(self, names: Collection[str]) -> set[str]:
        """Which of these UUIDs name no session, or one that has expired."""
        return await self.store.inactive(names, self._expiry_cutoff())

    def _expiry_cutoff(self) -> float:
        return self.clock() - self.ttl


class Session:
    """A session held by the caller. `record` is None if it has none (yet)."""

    def __init__(
        self,
        sessions: Sessions,
        record: SessionRecord | None,
        owner: str,
        session_id: str,
        name: str,
        *,
        noted: bool = False,
    ) -> None:
        self._sessions = sessions
        self.record = record
        self._owner = owner
        self._session_id = session_id
        self._noted = noted
        self.uuid = name

    @property
    def known(self) -> bool:
        """Is a conversation of this name known to be the caller's? While no key is set, each one is."""
        return not self._owner or self._noted or self.record is not None

    async def renew(self) -> None:
        """Update the last use, so that the session doesn't expire while a turn runs in it."""
        if self.record is not None:
            # Older servers noted no owner.
            await self._note_owner()
            self.record = replace(self.record, last_used=self._sessions.clock())
            await self._sessions.store.touch(self.uuid, self._owner, self.record.last_used)

    async def create(self, system: str, messages: int | None = 0, *, tools: bool = False) -> None:
        """Create the record of a conversation without a recorded answer yet. `messages`: how many it holds;
        None if that isn't known."""
        await self._note_owner()
        now = self._sessions.clock()
        self.record = SessionRecord(
            *(self._owner, self._session_id, self.uuid, system),
            created_at=now,
            last_used=now,
            messages=messages,
            tools=tools,
        )
        await self._sessions.store.save(self.record)

    async def _note_owner(self) -> None:
        if self._owner and not self._noted:
            await self._sessions.notes.write(self.uuid, self._owner)
            self._noted = True

    async def record_answer(self, mark: str, cost_usd: float | None, messages: int, calls: str = "") -> None:
        """Record an answer by its last event, which the next turn continues from. Survives SIGKILL.
        `messages`: how many the turn added to the conversation, its answer included. `calls`: the core's note
        of the calls in it."""
        before = self.record
        if before is None:
            raise RuntimeError("create() comes before record_answer()")
        self.record = replace(
            before,
            mark=mark,
            cost_usd=cost_usd,
            turns=before.turns + 1,
            last_used=self._sessions.clock(),
            messages=None if before.messages is None else before.messages + messages,
            calls=calls,
        )
        await self._sessions.store.save(self.record)

    async def delete(self) -> None:
        """Remove the record, and the note of the owner."""
        self.record = None
        await self._sessions.store.delete(self.uuid)
        await self._sessions.notes.erase(self.uuid)
        self._noted = False
