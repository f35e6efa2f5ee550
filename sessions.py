"""Sessions: which conversation of the CLI a client's session id stands for, and one turn at a time in each.

Records live in SQLite in the state folder, so that they outlive the server; the conversation itself is the
CLI's transcript. Two locks keep turns of one session apart: an asyncio.Lock in this process, and a byte of a
lock file against another server that runs on the same state.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import aiosqlite

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    owner TEXT NOT NULL, session_id TEXT NOT NULL, uuid TEXT NOT NULL UNIQUE, system TEXT NOT NULL,
    mark TEXT, cost_usd REAL, turns INTEGER NOT NULL, created_at REAL NOT NULL, last_used REAL NOT NULL,
    PRIMARY KEY (owner, session_id)
) STRICT
"""
# Names that aren't UUIDs are mapped to one in this namespace; changing it would orphan every such session.
_NAMESPACE = uuid.UUID("6f0b1d0c-6c62-4d0f-9f8e-1f3b5a1c7a21")
_FOREIGN_LOCK_POLL = 0.05
_PRIVATE_FILE = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


class StoreFailed(Exception):
    """The records can't be read or written: a full disk, a lock that somebody holds."""


class SessionTaken(Exception):
    """The CLI conversation that this id names belongs to another key."""


class Lock(Protocol):
    """What a turn waits for: an asyncio.Lock, or another server's hold on the session."""

    def locked(self) -> bool: ...

    async def acquire(self) -> bool: ...

    def release(self) -> None: ...


# How a caller waits for a lock: it lets the queue's limits hold while it does.
Acquire = Callable[[Lock], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One row. `mark` is the CLI's id of the last answered event; None until a first turn was answered.

    `cost_usd` is the CLI's total for the session after that turn, None where it wasn't told. Times are
    seconds since the epoch. `turns` counts answered turns.
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


def session_uuid(owner: str, session_id: str) -> str:
    """The CLI's name for a session: a UUID in any case as it is, anything else mapped to one."""
    with suppress(ValueError):
        name = str(uuid.UUID(session_id))
        # The parser also takes other spellings; those are names like any other.
        if name == session_id.lower():
            return name
    return str(uuid.uuid5(_NAMESPACE, f"{owner}\n{session_id}"))


class SessionRegistry:
    """Session id to record and lock. `folder` is made if missing, with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._db: aiosqlite.Connection | None = None
        self._lock_fd: int | None = None
        self.moved_aside: Path | None = None

    def __repr__(self) -> str:
        return f"<SessionRegistry {self._folder.name} busy={sorted(self._locks)}>"

    async def open(self) -> None:
        """Open the records. A file that can't be read is moved aside, its new place is `moved_aside`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        self._lock_fd = os.open(self._folder / "sessions.lock", _PRIVATE_FILE, 0o600)

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
            async with db.execute("PRAGMA user_version") as cursor:
                row = await cursor.fetchone()
            version = row[0] if row else 0
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError(f"schema version {version}, this server knows {SCHEMA_VERSION}")
            await db.execute(_SCHEMA)
            await db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except BaseException:
            await db.close()
            raise
        return db

    @asynccontextmanager
    async def hold(self, owner: str, session_id: str, acquire: Acquire) -> AsyncIterator[Session]:
        """One turn's hold on a session. Waits, through `acquire`, for the turn that runs in it.

        Raises SessionTaken if the UUID is another owner's session.
        """
        name = session_uuid(owner, session_id)
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            await acquire(lock)
            try:
                if self._lock_fd is None:
                    raise RuntimeError("SessionRegistry.open() was not called")
                byte = _ByteLock(self._lock_fd, name)
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

    @staticmethod
    def _claim(record: SessionRecord, owner: str, session_id: str) -> SessionRecord:
        # One UUID can be written in capitals or not: the same session for the same owner.
        if record.owner != owner:
            raise SessionTaken
        return replace(record, session_id=session_id)

    def _connection(self) -> aiosqlite.Connection:
        if self._db is None:
            raise RuntimeError("SessionRegistry.open() was not called")
        return self._db

    async def _load(self, name: str) -> SessionRecord | None:
        query = (
            "SELECT owner, session_id, uuid, system, mark, cost_usd, turns, created_at, last_used "
            "FROM sessions WHERE uuid = ?"
        )
        try:
            async with self._connection().execute(query, (name,)) as cursor:
                row = await cursor.fetchone()
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error
        return None if row is None else SessionRecord(*row)

    async def _save(self, record: SessionRecord) -> None:
        try:
            await self._write(record)
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error

    async def _write(self, record: SessionRecord) -> None:
        await self._connection().execute(
            "INSERT OR REPLACE INTO sessions "
            "(owner, session_id, uuid, system, mark, cost_usd, turns, created_at, last_used) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.owner,
                record.session_id,
                record.uuid,
                record.system,
                record.mark,
                record.cost_usd,
                record.turns,
                record.created_at,
                record.last_used,
            ),
        )


class Session:
    """A session that the caller holds. `record` is None where we have none (yet)."""

    def __init__(
        self, registry: SessionRegistry, record: SessionRecord | None, owner: str, session_id: str, name: str
    ) -> None:
        self._registry = registry
        self.record = record
        self._owner = owner
        self._session_id = session_id
        self.uuid = name

    async def begin(self, system: str) -> None:
        """Note, before its first turn, that the conversation under this UUID is ours and holds no answer."""
        now = time.time()
        self.record = SessionRecord(
            self._owner, self._session_id, self.uuid, system, created_at=now, last_used=now
        )
        await self._registry._save(self.record)

    async def answered(self, mark: str, cost_usd: float | None) -> None:
        """Note the last event of an answer: what the next turn continues from. Survives SIGKILL."""
        if self.record is None:
            raise RuntimeError("begin() comes before answered()")
        self.record = replace(
            self.record, mark=mark, cost_usd=cost_usd, turns=self.record.turns + 1, last_used=time.time()
        )
        await self._registry._save(self.record)


class _ByteLock:
    """A session's byte in the lock file. POSIX byte locks end with the process, whatever ends it, and leave
    no file per session behind; within one process they exclude nothing: that is the asyncio.Lock's part."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")

    def locked(self) -> bool:
        """Is another process in it? Takes the lock if not: to look and to take are one call."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._offset)
        except BlockingIOError:
            return True
        return False

    async def acquire(self) -> bool:
        # No event tells when another process gives up a file lock.
        while self.locked():  # noqa: ASYNC110
            await asyncio.sleep(_FOREIGN_LOCK_POLL)
        return True

    def release(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._offset)
