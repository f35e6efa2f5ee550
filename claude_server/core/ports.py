"""What the core asks of others: records that are kept, one turn at a time in a session, and observers.

The core names no database. An implementation lives in claude_server/stores, and has to pass the suite of
tests/stores/test_conformance.py word for word.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from claude_server.core.entry import Entry
from claude_server.core.errors import TurnError
from claude_server.core.model import Thought, TurnDone, TurnRequest


class StoreError(Exception):
    """The session records can't be read or written: a full disk, or a lock that is held too long."""


class SessionOwnedByOther(Exception):
    """The CLI conversation of this session id belongs to another key."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What is kept of a session. `mark` is the CLI's id of the last answered event; None until a first turn
    was answered.

    `cost_usd` is the CLI's total for the session after that turn, None where it wasn't reported. Times are
    seconds since the epoch. `turns` counts answered turns, `messages` the user's and the assistant's messages
    of the conversation, those that came with the first turn included; None where they were not
    counted from the start. `tools`: its turns have tools of the CLI's own. `calls`: what record_answer() was
    given, "" before.
    """

    owner: str
    session_id: str
    uuid: str
    system: str
    mark: str | None = None
    cost_usd: float | None = None
    turns: int = 0
    created_at: float = 0.0
    last_used: float = 0.0
    messages: int | None = 0
    tools: bool = False
    calls: str = ""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """Fields of a SessionRecord that a list shows."""

    session_id: str
    turns: int
    messages: int | None
    cost_usd: float | None
    created_at: float
    last_used: float


@dataclass(frozen=True, slots=True)
class SessionCounts:
    """Sessions of one owner, and the messages in those that haven't expired."""

    active: int
    expired: int
    messages: int


class SessionStore(Protocol):
    """Keeps records of sessions, each by its UUID and by its owner and session id.

    A write that has returned is there for every other server on the same store, and outlives SIGKILL. A
    write that raised has changed nothing. `since` and `used` are seconds since the epoch; a session counts as
    active if it was used after `since`. Every method raises StoreError where the records can't be reached,
    and RuntimeError before open().
    """

    async def open(self) -> None:
        """Raises StoreError also for records of a newer server, which stay as they are."""

    async def close(self) -> None:
        """Idempotent."""

    async def load(self, uuid: str) -> SessionRecord | None:
        """The record, whoever owns it and however old it is."""

    async def save(self, record: SessionRecord) -> None:
        """Put a record in the place of those with its UUID, or with its owner and session id."""

    async def touch(
        self, uuid: str, owner: str, used: float, since: float = -math.inf
    ) -> SessionRecord | None:
        """Note that a session was used, in one step with looking: it is the owner's, and active. Returns its
        record; None if there is no such session."""

    async def delete(self, uuid: str) -> None:
        """Remove the record, if there is one."""

    async def active(self, owner: str, since: float, limit: int, offset: int) -> list[SessionSummary]:
        """A page of the owner's active sessions: the one that was used last first, and by their ids where
        they were used at one time. Costs what the page costs, not what its system prompts are long."""

    async def counts(self, owner: str, since: float) -> SessionCounts: ...

    async def inactive(self, uuids: Collection[str], since: float) -> set[str]:
        """Which of these UUIDs name no session, or one that isn't active."""


@dataclass(frozen=True, slots=True)
class ChainSize:
    """A response and those that it follows on: how many, and their bytes. `missing`: the id of the one that
    is not there, or that is one too many; "" if the chain is whole."""

    count: int
    size: int
    missing: str


@dataclass(frozen=True, slots=True)
class StoreTotals:
    """What is kept for an owner: entries, and bytes."""

    count: int
    size: int


class ResponseStore(Protocol):
    """Keeps what clients may name later, each by its owner and id.

    A write that has returned is there for every other server on the same store, and outlives SIGKILL. A
    write that raised has changed nothing. An entry that was last used at `since` or before it isn't there.
    Every method raises StoreError where the store can't be reached, and RuntimeError before open().
    """

    async def open(self) -> None:
        """Raises StoreError also for records of a newer server, which stay as they are."""

    async def close(self) -> None:
        """Idempotent."""

    async def save(self, entry: Entry) -> None:
        """Put an entry in the place of one with its owner and id. It keeps that one's place in the order."""

    async def load(self, owner: str, id: str, since: float) -> Entry | None: ...

    async def chain_size(self, owner: str, id: str, since: float, longest: int) -> ChainSize:
        """Of the response and at most `longest` before it."""

    async def chain(self, owner: str, id: str, since: float, longest: int) -> list[Entry]:
        """The response and at most `longest` before it, the first one first."""

    async def items(self, owner: str, ids: Collection[str], since: float) -> dict[str, str]:
        """The JSON of those of the items that are there, by their ids."""

    async def of_conversation(self, owner: str, conversation: str) -> list[Entry]:
        """The entries that are part of it, in the order in which they were saved first."""

    async def touch(self, owner: str, id: str, used: float) -> None:
        """Note that an entry was used, with all of its parts if it is a conversation."""

    async def delete(self, owner: str, ids: Collection[str]) -> int:
        """How many there were."""

    async def totals(self, owner: str) -> StoreTotals: ...

    async def keep_newest(self, owner: str, count: int, size: int) -> int:
        """Remove all but the entries that were used last: so many of them, and so many bytes. A conversation
        goes as a whole. How many were removed?"""

    async def expire(self, since: float) -> int:
        """Remove what was last used at `since` or before it, whoever owns it. How many were removed?"""


class OwnerNotes(Protocol):
    """Whose a session is, noted apart from its record: it is known when the records are lost.

    A note that was written outlives SIGKILL. Every method raises StoreError where notes can't be reached.
    """

    async def is_owner(self, uuid: str, owner: str) -> bool | None:
        """Is the session noted as this owner's? None if there is no note."""

    async def write(self, uuid: str, owner: str) -> None:
        """Note that the session is this owner's."""

    async def erase(self, uuid: str) -> None:
        """Remove the note, if there is one."""


@dataclass(frozen=True, slots=True)
class CallThoughts:
    """What the model thought before the call with the id `call`: `leading` before the text in front of it,
    `trailing` between that text and the call. `model` is the model's resolved id."""

    call: str
    model: str
    leading: tuple[Thought, ...] = ()
    trailing: tuple[Thought, ...] = ()


class ThoughtStore(Protocol):
    """Keeps what models thought before their calls, by the owner of the turn and the id of the call.

    A write that has returned is there for every other server on the same store, and outlives SIGKILL. What is
    too old is not found; of too many, or too many bytes, the oldest go. Methods raise StoreError where the
    records can't be reached, and RuntimeError before open().
    """

    async def open(self) -> None:
        """Raises StoreError also for records of a newer server, which stay as they are."""

    async def close(self) -> None:
        """Idempotent."""

    async def save(self, owner: str, notes: Collection[CallThoughts]) -> None:
        """Keep the notes, in the place of those of the same calls."""

    async def load(self, owner: str, calls: Collection[str]) -> dict[str, CallThoughts]:
        """Those of the owner's calls that are kept, by their ids."""


class Lock(Protocol):
    """A lock that a turn waits for: one of this process, or one against other servers."""

    def locked(self) -> bool: ...

    async def acquire(self) -> bool: ...

    def release(self) -> None: ...


# How a caller acquires a lock: through the admission queue, so that its limits apply.
Acquire = Callable[[Lock], Awaitable[None]]


class SessionLocks(Protocol):
    """One holder at a time for each name, among all servers that share a store."""

    async def open(self) -> None:
        """Raises StoreError."""

    async def close(self) -> None:
        """Idempotent."""

    @property
    def busy(self) -> list[str]:
        """The names that this process holds or waits for, sorted."""

    def hold(self, name: str, acquire: Acquire) -> AbstractAsyncContextManager[None]:
        """Hold a name while the context is open. Waits through `acquire`, once for each lock on the way; in
        one process those that wait are served in the order in which they came.

        Who is refused or cancelled while waiting leaves nothing held, and the end of the context awaits
        nothing. The death of a holder's process frees the name.
        """


class TurnOutcome(Enum):
    """How a turn ended: with a whole answer; with an error; or cut off, since its client left."""

    ANSWERED = "answered"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """A turn's end with its numbers. `seconds` since its start, waits and pauses included; `retries`: tries
    beyond the first one. `done` is the last event of an answer, `error` what a turn failed with."""

    outcome: TurnOutcome
    seconds: float
    retries: int
    done: TurnDone | None = None
    error: Exception | None = None


class TurnObserver(Protocol):
    """Sees each turn's start, its retries and its end, in this order, in the task that runs the turn. Methods
    neither wait nor raise."""

    def started(self, turn: TurnRequest) -> None:
        """The turn is about to wait for its session and its slot."""

    def retried(self, turn: TurnRequest, error: TurnError, delay: float) -> None:
        """A try failed, or the session could not be opened; another one follows in `delay` seconds. A
        conversation that the CLI has lost is such a try too."""

    def ended(self, turn: TurnRequest, end: TurnEnd) -> None:
        """Called once; for an answer when it is complete and recorded, before its last event is sent."""
