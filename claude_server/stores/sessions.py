"""Sessions: maps a client's session id to a CLI conversation, and admits one turn at a time to each.

Records live in SQLite in the state folder; the conversation itself is the CLI's transcript. Two locks keep
turns of one session apart: an asyncio.Lock in this process, and a ByteLock against other servers. A session
that isn't used for a while expires and is no longer listed. Only `Session.delete` removes its record.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import aiosqlite

from claude_server.stores.byte_lock import ByteLock

SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    owner TEXT NOT NULL, session_id TEXT NOT NULL, uuid TEXT NOT NULL UNIQUE, system TEXT NOT NULL,
    mark TEXT, cost_usd REAL, turns INTEGER NOT NULL, created_at REAL NOT NULL, last_used REAL NOT NULL,
    messages INTEGER, tools INTEGER NOT NULL DEFAULT 0, calls TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (owner, session_id)
) STRICT
"""
# Migrations: the statement that leads from a schema version to the next one.
_MIGRATIONS = {
    1: "ALTER TABLE sessions ADD COLUMN messages INTEGER",
    2: "ALTER TABLE sessions ADD COLUMN tools INTEGER NOT NULL DEFAULT 0",
    3: "ALTER TABLE sessions ADD COLUMN calls TEXT NOT NULL DEFAULT ''",
}
# Names that aren't UUIDs are mapped to one in this namespace; changing it would orphan every such session.
_NAMESPACE = uuid.UUID("6f0b1d0c-6c62-4d0f-9f8e-1f3b5a1c7a21")
# Sessions in one list: more would hold the event loop while they are written.
LONGEST_PAGE = 500
_PRIVATE_FILE = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


class StoreError(Exception):
    """The session records can't be read or written: a full disk, or a lock that is held too long."""


class SessionOwnedByOther(Exception):
    """The CLI conversation of this session id belongs to another key."""


class Lock(Protocol):
    """A lock that a turn waits for: an asyncio.Lock, or a file lock against other servers."""

    def locked(self) -> bool: ...

    async def acquire(self) -> bool: ...

    def release(self) -> None: ...


# How a caller acquires a lock: through the admission queue, so that its limits apply.
Acquire = Callable[[Lock], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One row. `mark` is the CLI's id of the last answered event; None until a first turn was answered.

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

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> SessionRecord:
        """The record for a row of the table."""
        record = cls(*row)
        return replace(record, tools=bool(record.tools))


_COLUMNS = ", ".join(field.name for field in fields(SessionRecord))


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """Fields of a SessionRecord that a list shows."""

    session_id: str
    turns: int
    messages: int | None
    cost_usd: float | None
    created_at: float
    last_used: float


_SUMMARY_COLUMNS = ", ".join(field.name for field in fields(SessionSummary))
# Holds all that a list needs: a system prompt may be large, and the columns behind it are read through it.
_SUMMARY_INDEX = (
    "CREATE INDEX IF NOT EXISTS session_summaries ON sessions "
    "(owner, last_used, session_id, turns, messages, cost_usd, created_at)"
)


@dataclass(frozen=True, slots=True)
class SessionCounts:
    """Sessions of one owner, and the messages in those that haven't expired."""

    active: int
    expired: int
    messages: int


def session_uuid(owner: str, session_id: str) -> str:
    """The CLI's name for a session: without keys a UUID in any case as it is, anything else mapped to one.

    With keys every name is mapped through its owner: a conversation is found by nobody else, record or not.
    """
    given = _as_uuid(session_id)
    if given is not None and not owner:
        return given
    return str(uuid.uuid5(_NAMESPACE, f"{owner}\n{given or session_id}"))


def _as_uuid(session_id: str) -> str | None:
    with suppress(ValueError):
        name = str(uuid.UUID(session_id))
        # The parser also takes other spellings; those are names like any other.
        if name == session_id.lower():
            return name
    return None


class SessionRegistry:
    """Session id to record and lock. `folder` is made if missing, with mode 0700. A session expires `ttl`
    seconds after its last use."""

    def __init__(self, folder: Path, ttl: float = 3600.0, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self.ttl = ttl
        self._clock = clock
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._db: aiosqlite.Connection | None = None
        self._lock_fd: int | None = None
        self.moved_aside: Path | None = None

    def __repr__(self) -> str:
        return f"<SessionRegistry {self._folder.name} busy={sorted(self._locks)}>"

    async def open(self) -> None:
        """Open the records. A file that holds none is moved aside, its new place is `moved_aside`.

        Raises StoreError where they can't be opened, or are those of a newer server.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = os.open(self._folder / "sessions.lock", _PRIVATE_FILE, 0o600)
        # SQLite doesn't wait when two servers switch to WAL at once. Byte locks on the file are independent.
        await asyncio.to_thread(fcntl.flock, self._lock_fd, fcntl.LOCK_EX)
        try:
            await self._open_records()
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError | sqlite3.Error):
                raise StoreError(f"the session records can't be opened: {error}") from error
            raise
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    async def _open_records(self) -> None:
        path = self._folder / "sessions.sqlite3"
        try:
            self._db = await self._connect(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.moved_aside = path.with_suffix(f".corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
            path.rename(self.moved_aside)
            for leftover in ("-wal", "-shm"):
                path.with_name(path.name + leftover).unlink(missing_ok=True)
            self._db = await self._connect(path)

    async def close(self) -> None:
        """Close the records and give up the lock file."""
        if self._db is not None:
            await self._db.close()
            self._db = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @staticmethod
    async def _connect(path: Path) -> aiosqlite.Connection:
        os.close(os.open(path, _PRIVATE_FILE, 0o600))
        db = await aiosqlite.connect(path, isolation_level=None)
        try:
            # WAL without a sync at each commit: safe against a killed process, which is what we promise.
            await db.execute("PRAGMA journal_mode=WAL")
            await db.execute("PRAGMA synchronous=NORMAL")
            await db.execute("PRAGMA busy_timeout=5000")
            await db.execute("BEGIN IMMEDIATE")
            async with db.execute("PRAGMA user_version") as cursor:
                row = await cursor.fetchone()
            version = row[0] if row else 0
            if version > SCHEMA_VERSION:
                # Moved aside, everybody's sessions would be lost to who only went back by a version.
                raise StoreError(
                    f"the session records are those of a newer server (version {version}, this one "
                    f"knows {SCHEMA_VERSION}): start that one, or move {path.name} away"
                )
            for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
                await db.execute(_MIGRATIONS[older])
            await db.execute(_SCHEMA)
            await db.execute(_SUMMARY_INDEX)
            await db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            await db.execute("COMMIT")
        except BaseException:
            await db.close()
            raise
        return db

    @asynccontextmanager
    async def hold(self, owner: str, session_id: str, acquire: Acquire) -> AsyncIterator[Session]:
        """Hold a session for one turn. Waits, through `acquire`, for a turn that runs in it.

        Raises SessionOwnedByOther if the UUID is another owner's session, StoreError.
        """
        name = await self._name(owner, session_id)
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            await acquire(lock)
            try:
                if self._lock_fd is None:
                    raise RuntimeError("SessionRegistry.open() was not called")
                byte = ByteLock(self._lock_fd, name)
                await acquire(byte)
                try:
                    record = await self._load(name)
                    if record is not None and (record.owner, record.session_id) != (owner, session_id):
                        record = self._claim(record, owner, session_id)
                    yield Session(self, record, owner, session_id, name)
                finally:
                    byte.release()
            finally:
                lock.release()
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)

    async def _name(self, owner: str, session_id: str) -> str:
        """The session's UUID: with keys, that of a session from before names were mapped is the client's."""
        given = _as_uuid(session_id)
        if owner and given is not None:
            query = "SELECT uuid FROM sessions WHERE uuid = ? AND owner = ?"
            if await self._rows(query, given, owner):
                return given
        return session_uuid(owner, session_id)

    @staticmethod
    def _claim(record: SessionRecord, owner: str, session_id: str) -> SessionRecord:
        # One UUID can be written in capitals or not: the same session for the same owner.
        if record.owner != owner:
            raise SessionOwnedByOther
        return replace(record, session_id=session_id)

    def _connection(self) -> aiosqlite.Connection:
        if self._db is None:
            raise RuntimeError("SessionRegistry.open() was not called")
        return self._db

    async def _load(self, name: str) -> SessionRecord | None:
        rows = await self._rows(f"SELECT {_COLUMNS} FROM sessions WHERE uuid = ?", name)
        return SessionRecord.from_row(rows[0]) if rows else None

    # Expiry

    def expires_at(self, record: SessionRecord | SessionSummary) -> float:
        """When the session expires if it isn't used again; seconds since the epoch."""
        return record.last_used + self.ttl

    async def active(self, owner: str, limit: int = LONGEST_PAGE, offset: int = 0) -> list[SessionSummary]:
        """A page of the owner's sessions that haven't expired, the one that was used last first."""
        query = (
            f"SELECT {_SUMMARY_COLUMNS} FROM sessions WHERE owner = ? AND last_used > ? "
            "ORDER BY last_used DESC, session_id LIMIT ? OFFSET ?"
        )
        rows = await self._rows(query, owner, self._expiry_cutoff(), limit, offset)
        return [SessionSummary(*row) for row in rows]

    async def counts(self, owner: str) -> SessionCounts:
        """How many sessions the owner has."""
        query = (
            "SELECT count(*) FILTER (WHERE last_used > ?1), count(*) FILTER (WHERE last_used <= ?1), "
            "coalesce(sum(messages) FILTER (WHERE last_used > ?1), 0) FROM sessions WHERE owner = ?2"
        )
        return SessionCounts(*(await self._rows(query, self._expiry_cutoff(), owner))[0])

    async def renew(self, owner: str, session_id: str) -> SessionRecord | None:
        """A session that hasn't expired, used now; None if there is none. Waits for nothing."""
        name = await self._name(owner, session_id)
        await self._rows(
            "UPDATE sessions SET last_used = ? WHERE uuid = ? AND owner = ? AND last_used > ?",
            *(self._clock(), name, owner, self._expiry_cutoff()),
        )
        record = await self._load(name)
        ours = record is not None and record.owner == owner and record.last_used > self._expiry_cutoff()
        return record if ours else None

    async def expired(self, names: Collection[str]) -> set[str]:
        """Which of these UUIDs name no session, or one that has expired."""
        query = "SELECT uuid FROM sessions WHERE last_used > ? AND uuid IN (SELECT value FROM json_each(?))"
        rows = await self._rows(query, self._expiry_cutoff(), json.dumps([*names]))
        return set(names) - {name for (name,) in rows}

    def _expiry_cutoff(self) -> float:
        return self._clock() - self.ttl

    async def _rows(self, query: str, *values: Any) -> list[Any]:
        """Run a statement. Raises StoreError."""
        try:
            return list(await self._connection().execute_fetchall(query, values))
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    async def _save(self, record: SessionRecord) -> None:
        values = astuple(record)
        places = ", ".join("?" for _ in values)
        await self._rows(f"INSERT OR REPLACE INTO sessions ({_COLUMNS}) VALUES ({places})", *values)


class Session:
    """A session held by the caller. `record` is None if it has none (yet)."""

    def __init__(
        self, registry: SessionRegistry, record: SessionRecord | None, owner: str, session_id: str, name: str
    ) -> None:
        self._registry = registry
        self.record = record
        self._owner = owner
        self._session_id = session_id
        self.uuid = name

    async def renew(self) -> None:
        """Update the last use, so that the session doesn't expire while a turn runs in it."""
        if self.record is not None:
            self.record = replace(self.record, last_used=self._registry._clock())
            query = "UPDATE sessions SET last_used = ? WHERE uuid = ?"
            await self._registry._rows(query, self.record.last_used, self.uuid)

    async def create(self, system: str, messages: int | None = 0, *, tools: bool = False) -> None:
        """Create the record of a conversation without a recorded answer yet. `messages`: how many it holds;
        None if that isn't known."""
        now = self._registry._clock()
        self.record = SessionRecord(
            *(self._owner, self._session_id, self.uuid, system),
            created_at=now,
            last_used=now,
            messages=messages,
            tools=tools,
        )
        await self._registry._save(self.record)

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
            last_used=self._registry._clock(),
            messages=None if before.messages is None else before.messages + messages,
            calls=calls,
        )
        await self._registry._save(self.record)

    async def delete(self) -> None:
        """Remove the record."""
        self.record = None
        await self._registry._rows("DELETE FROM sessions WHERE uuid = ?", self.uuid)
