"""Session records in SQLite, in the state folder.

Every statement is one transaction. WAL without a sync at each commit outlives a killed process, which is what
a store promises; servers on one state folder share the file.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import math
import os
import sqlite3
import time
from collections.abc import Collection, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import aiosqlite

from claude_server.core.ports import SessionCounts, SessionRecord, SessionSummary, StoreError

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
_COLUMNS = ", ".join(field.name for field in fields(SessionRecord))
_SUMMARY_COLUMNS = ", ".join(field.name for field in fields(SessionSummary))
# Holds all that a list needs: a system prompt may be large, and the columns behind it are read through it.
_SUMMARY_INDEX = (
    "CREATE INDEX IF NOT EXISTS session_summaries ON sessions "
    "(owner, last_used, session_id, turns, messages, cost_usd, created_at)"
)
_PRIVATE_FILE = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


class SqliteSessionStore:
    """The SessionStore of a state folder, which is made if missing, with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._db: aiosqlite.Connection | None = None
        self._lock_fd: int | None = None
        self.moved_aside: Path | None = None

    def __repr__(self) -> str:
        return f"<SqliteSessionStore {self._folder.name}>"

    async def open(self) -> None:
        """Open the records. A file that holds none is moved aside, its new place is `moved_aside`.

        Raises StoreError where they can't be opened, or are those of a newer server.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Open until close(): to close a descriptor of this file gives up the byte locks of FileLocks.
            self._lock_fd = os.open(self._folder / "sessions.lock", _PRIVATE_FILE, 0o600)
            # SQLite doesn't wait when two servers switch to WAL at once. Byte locks are independent of it.
            await asyncio.to_thread(fcntl.flock, self._lock_fd, fcntl.LOCK_EX)
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
            self._db = await _connect(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.moved_aside = path.with_suffix(f".corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
            path.rename(self.moved_aside)
            for leftover in ("-wal", "-shm"):
                path.with_name(path.name + leftover).unlink(missing_ok=True)
            self._db = await _connect(path)

    async def close(self) -> None:
        """Close the records. Idempotent."""
        db, self._db = self._db, None
        if db is not None:
            await db.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def load(self, uuid: str) -> SessionRecord | None:
        return _record(await self._rows(f"SELECT {_COLUMNS} FROM sessions WHERE uuid = ?", uuid))

    async def save(self, record: SessionRecord) -> None:
        values = astuple(record)
        places = ", ".join("?" for _ in values)
        await self._rows(f"INSERT OR REPLACE INTO sessions ({_COLUMNS}) VALUES ({places})", *values)

    async def touch(
        self, uuid: str, owner: str, used: float, since: float = -math.inf
    ) -> SessionRecord | None:
        statement = (
            "UPDATE sessions SET last_used = ? WHERE uuid = ? AND owner = ? AND last_used > ? "
            f"RETURNING {_COLUMNS}"
        )
        return _record(await self._rows(statement, used, uuid, owner, since))

    async def delete(self, uuid: str) -> None:
        await self._rows("DELETE FROM sessions WHERE uuid = ?", uuid)

    async def active(self, owner: str, since: float, limit: int, offset: int) -> list[SessionSummary]:
        query = (
            f"SELECT {_SUMMARY_COLUMNS} FROM sessions WHERE owner = ? AND last_used > ? "
            "ORDER BY last_used DESC, session_id LIMIT ? OFFSET ?"
        )
        return [SessionSummary(*row) for row in await self._rows(query, owner, since, limit, offset)]

    async def counts(self, owner: str, since: float) -> SessionCounts:
        query = (
            "SELECT count(*) FILTER (WHERE last_used > ?1), count(*) FILTER (WHERE last_used <= ?1), "
            "coalesce(sum(messages) FILTER (WHERE last_used > ?1), 0) FROM sessions WHERE owner = ?2"
        )
        return SessionCounts(*(await self._rows(query, since, owner))[0])

    async def inactive(self, uuids: Collection[str], since: float) -> set[str]:
        query = "SELECT uuid FROM sessions WHERE last_used > ? AND uuid IN (SELECT value FROM json_each(?))"
        return set(uuids) - {name for (name,) in await self._rows(query, since, json.dumps([*uuids]))}

    async def _rows(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement. Raises StoreError."""
        if self._db is None:
            raise RuntimeError("open() was not called")
        try:
            return list(await self._db.execute_fetchall(statement, values))
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error


def _record(rows: Sequence[Sequence[Any]]) -> SessionRecord | None:
    """The record for the row that was found, if one was."""
    if not rows:
        return None
    record = SessionRecord(*rows[0])
    return replace(record, tools=bool(record.tools))


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
