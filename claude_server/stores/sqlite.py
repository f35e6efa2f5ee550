"""Session records in SQLite, in the state folder."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

from claude_server.core.ports import SessionCounts, SessionRecord, SessionSummary
from claude_server.stores.database import Database, FileStore, Schema

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


class SqliteSessionStore(FileStore):
    """The SessionStore of a state folder, which is made if missing, with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        schema = Schema("the session records", SCHEMA_VERSION, (_SCHEMA, _SUMMARY_INDEX), _MIGRATIONS)
        super().__init__(Database(folder, "sessions", schema))

    def __repr__(self) -> str:
        return f"<SqliteSessionStore {self._folder.name}>"

    async def load(self, uuid: str) -> SessionRecord | None:
        return _record(await self._db.rows(f"SELECT {_COLUMNS} FROM sessions WHERE uuid = ?", uuid))

    async def save(self, record: SessionRecord) -> None:
        values = astuple(record)
        places = ", ".join("?" for _ in values)
        await self._db.rows(f"INSERT OR REPLACE INTO sessions ({_COLUMNS}) VALUES ({places})", *values)

    async def touch(
        self, uuid: str, owner: str, used: float, since: float = -math.inf
    ) -> SessionRecord | None:
        statement = (
            "UPDATE sessions SET last_used = ? WHERE uuid = ? AND owner = ? AND last_used > ? "
            f"RETURNING {_COLUMNS}"
        )
        return _record(await self._db.rows(statement, used, uuid, owner, since))

    async def delete(self, uuid: str) -> None:
        await self._db.rows("DELETE FROM sessions WHERE uuid = ?", uuid)

    async def active(self, owner: str, since: float, limit: int, offset: int) -> list[SessionSummary]:
        query = (
            f"SELECT {_SUMMARY_COLUMNS} FROM sessions WHERE owner = ? AND last_used > ? "
            "ORDER BY last_used DESC, session_id LIMIT ? OFFSET ?"
        )
        return [SessionSummary(*row) for row in await self._db.rows(query, owner, since, limit, offset)]

    async def counts(self, owner: str, since: float) -> SessionCounts:
        query = (
            "SELECT count(*) FILTER (WHERE last_used > ?1), count(*) FILTER (WHERE last_used <= ?1), "
            "coalesce(sum(messages) FILTER (WHERE last_used > ?1), 0) FROM sessions WHERE owner = ?2"
        )
        return SessionCounts(*(await self._db.rows(query, since, owner))[0])

    async def inactive(self, uuids: Collection[str], since: float) -> set[str]:
        query = "SELECT uuid FROM sessions WHERE last_used > ? AND uuid IN (SELECT value FROM json_each(?))"
        return set(uuids) - {name for (name,) in await self._db.rows(query, since, json.dumps([*uuids]))}


def _record(rows: Sequence[Sequence[Any]]) -> SessionRecord | None:
    """The record for the row that was found, if one was."""
    if not rows:
        return None
    record = SessionRecord(*rows[0])
    return replace(record, tools=bool(record.tools))
