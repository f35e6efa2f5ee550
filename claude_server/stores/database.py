"""A SQLite file of the state folder, which the servers on that folder share.

Every statement is one transaction. WAL without a sync at each commit outlives a killed process, which is what
a store promises.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosqlite

from claude_server.core.ports import StoreError

_PRIVATE_FILE = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Schema:
    """What is in a file, as errors call it (`what`), its version, and the statements that make it.
    `migrations`: the statement that leads from a version to the next one."""

    what: str
    version: int
    statements: Sequence[str]
    migrations: Mapping[int, str] = field(default_factory=dict)


class Database:
    """The file `name`.sqlite3 in `folder`, which is made if missing, with mode 0700."""

    def __init__(self, folder: Path, name: str, schema: Schema) -> None:
        self._folder = folder
        self._name = name
        self._schema = schema
        self._db: aiosqlite.Connection | None = None
        self._lock_fd: int | None = None
        self.moved_aside: Path | None = None

    async def open(self) -> None:
        """Open the file. One that holds no records is moved aside, its new place is `moved_aside`.

        Raises StoreError where it can't be opened, or is that of a newer server.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Open until close(): to close a descriptor of this file gives up the byte locks on it.
            self._lock_fd = os.open(self._folder / f"{self._name}.lock", _PRIVATE_FILE, 0o600)
            # SQLite doesn't wait when two servers switch to WAL at once. Byte locks are independent of it.
            await asyncio.to_thread(fcntl.flock, self._lock_fd, fcntl.LOCK_EX)
            await self._open_records()
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError | sqlite3.Error):
                raise StoreError(f"{self._schema.what} can't be opened: {error}") from error
            raise
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    async def _open_records(self) -> None:
        path = self._folder / f"{self._name}.sqlite3"
        try:
            self._db = await _connect(path, self._schema)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.moved_aside = path.with_suffix(f".corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
            path.rename(self.moved_aside)
            for leftover in ("-wal", "-shm"):
                path.with_name(path.name + leftover).unlink(missing_ok=True)
            self._db = await _connect(path, self._schema)

    async def close(self) -> None:
        """Close the file. Idempotent."""
        db, self._db = self._db, None
        if db is not None:
            await db.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement. Raises StoreError, and RuntimeError before open()."""
        if self._db is None:
            raise RuntimeError("open() was not called")
        try:
            return list(await self._db.execute_fetchall(statement, values))
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error


class FileStore:
    """What stores in such a file have in common."""

    def __init__(self, file: Database) -> None:
        self._db = file

    @property
    def moved_aside(self) -> Path | None:
        """Where open() moved a file that held no records; None if there was none."""
        return self._db.moved_aside

    async def open(self) -> None:
        """Open the records. A file that holds none is moved aside, its new place is `moved_aside`.

        Raises StoreError where they can't be opened, or are those of a newer server.
        """
        await self._db.open()

    async def close(self) -> None:
        """Close the records. Idempotent."""
        await self._db.close()


async def _connect(path: Path, schema: Schema) -> aiosqlite.Connection:
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
        if version > schema.version:
            # Moved aside, everybody's records would be lost to who only went back by a version.
            raise StoreError(
                f"{schema.what} are those of a newer server (version {version}, this one "
                f"knows {schema.version}): start that one, or move {path.name} away"
            )
        for older in range(version or schema.version, schema.version):
            await db.execute(schema.migrations[older])
        for statement in schema.statements:
            await db.execute(statement)
        await db.execute(f"PRAGMA user_version={schema.version}")
        await db.execute("COMMIT")
    except BaseException:
        await db.close()
        raise
    return db
