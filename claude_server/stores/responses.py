"""Kept responses in SQLite, in the state folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from claude_server.core.entry import Entry
from claude_server.core.ports import ChainSize, StoreTotals
from claude_server.stores.database import Database, FileStore, Schema

_COLUMNS = ", ".join(field.name for field in fields(Entry))
_SIZE = "length(CAST(body AS BLOB)) + length(CAST(input AS BLOB)) + length(CAST(output AS BLOB))"
_NOTE_ITEMS = "INSERT OR IGNORE INTO items SELECT new.owner, value, new.id FROM json_each(new.item_ids)"
SCHEMA = Schema(
    "the kept responses",
    1,
    (
        "CREATE TABLE IF NOT EXISTS entries ("
        "owner TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, created_at REAL NOT NULL, "
        "used_at REAL NOT NULL, previous TEXT NOT NULL, conversation TEXT NOT NULL, item_ids TEXT NOT NULL, "
        "body TEXT NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL, "
        f"size INTEGER NOT NULL AS ({_SIZE}) STORED, PRIMARY KEY (owner, id)) STRICT",
        # Holds all that the bounds need.
        "CREATE INDEX IF NOT EXISTS entries_by_use ON entries (owner, used_at, size)",
        "CREATE INDEX IF NOT EXISTS entries_by_conversation ON entries (owner, conversation) "
        "WHERE conversation != ''",
        # Where an item is; it may be in several entries. Kept by triggers: an entry is one statement.
        "CREATE TABLE IF NOT EXISTS items (owner TEXT NOT NULL, id TEXT NOT NULL, entry TEXT NOT NULL, "
        "PRIMARY KEY (owner, id, entry)) STRICT, WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS items_by_entry ON items (owner, entry)",
        f"CREATE TRIGGER IF NOT EXISTS entry_made AFTER INSERT ON entries BEGIN {_NOTE_ITEMS}; END",
        "CREATE TRIGGER IF NOT EXISTS entry_changed AFTER UPDATE OF item_ids ON entries BEGIN "
        f"DELETE FROM items WHERE owner = old.owner AND entry = old.id; {_NOTE_ITEMS}; END",
        "CREATE TRIGGER IF NOT EXISTS entry_gone AFTER DELETE ON entries BEGIN "
        "DELETE FROM items WHERE owner = old.owner AND entry = old.id; END",
    ),
)
_CHAIN = """
WITH RECURSIVE chain(id, previous, depth) AS (
    SELECT id, previous, 0 FROM entries WHERE owner = ?1 AND id = ?2 AND kind = 'response' AND used_at > ?3
    UNION ALL
    SELECT e.id, e.previous, depth + 1 FROM chain JOIN entries e ON e.owner = ?1 AND e.id = chain.previous
    WHERE chain.previous != '' AND e.kind = 'response' AND e.used_at > ?3 AND depth < ?4
)
"""


class SqliteResponseStore(FileStore):
    """The ResponseStore of a state folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Database(folder, "responses", SCHEMA))

    what = SCHEMA.what

    async def save(self, entry: Entry) -> None:
        values = astuple(entry)
        places = ", ".join("?" for _ in values)
        changes = ", ".join(f"{f.name} = excluded.{f.name}" for f in fields(Entry))
        await self._db.rows(
            f"INSERT INTO entries ({_COLUMNS}) VALUES ({places})"
            f" ON CONFLICT (owner, id) DO UPDATE SET {changes}",
            *_written(values),
        )

    async def load(self, owner: str, id: str, since: float) -> Entry | None:
        query = f"SELECT {_COLUMNS} FROM entries WHERE owner = ? AND id = ? AND used_at > ?"
        rows = await self._db.rows(query, owner, id, since)
        return _entry(rows[0]) if rows else None

    async def chain_size(self, owner: str, id: str, since: float, longest: int) -> ChainSize:
        query = (
            f"{_CHAIN} SELECT count(*), coalesce(sum(e.size), 0), "
            "(SELECT previous FROM chain ORDER BY depth DESC LIMIT 1) "
            "FROM chain JOIN entries e ON e.owner = ?1 AND e.id = chain.id"
        )
        count, size, missing = (await self._db.rows(query, owner, id, since, longest))[0]
        return ChainSize(count, size, id if missing is None else missing)

    async def chain(self, owner: str, id: str, since: float, longest: int) -> list[Entry]:
        columns = ", ".join(f"e.{field.name}" for field in fields(Entry))
        query = (
            f"{_CHAIN} SELECT {columns} FROM chain JOIN entries e ON e.owner = ?1 AND e.id = chain.id "
            "ORDER BY depth DESC"
        )
        return [_entry(row) for row in await self._db.rows(query, owner, id, since, longest)]

    async def items(self, owner: str, ids: Collection[str], since: float) -> dict[str, str]:
        parts = " UNION ALL ".join(
            f"SELECT json_extract(each.value, '$.id'), each.value FROM found, json_each(found.{side}) each"
            for side in ("input", "output")
        )
        query = (
            "WITH wanted AS (SELECT value FROM json_each(?2)), found AS (SELECT DISTINCT e.id, e.input, "
            "e.output FROM items JOIN entries e ON e.owner = items.owner AND e.id = items.entry "
            "WHERE items.owner = ?1 AND items.id IN wanted AND e.used_at > ?3) "
            f"{parts}"
        )
        rows = await self._db.rows(query, owner, json.dumps([*ids]), since)
        wanted = frozenset(ids)
        return {name: value for name, value in rows if name in wanted}

    async def of_conversation(self, owner: str, conversation: str) -> list[Entry]:
        query = f"SELECT {_COLUMNS} FROM entries WHERE owner = ? AND conversation = ? ORDER BY rowid"
        return [_entry(row) for row in await self._db.rows(query, owner, conversation)]

    async def touch(self, owner: str, id: str, used: float) -> None:
        await self._db.rows(
            "UPDATE entries SET used_at = ?3 WHERE owner = ?1 AND (id = ?2 OR conversation = ?2)",
            *(owner, id, used),
        )

    async def delete(self, owner: str, ids: Collection[str]) -> int:
        query = "DELETE FROM entries WHERE owner = ? AND id IN (SELECT value FROM json_each(?)) RETURNING id"
        return len(await self._db.rows(query, owner, json.dumps([*ids])))

    async def totals(self, owner: str) -> StoreTotals:
        query = "SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE owner = ?"
        return StoreTotals(*(await self._db.rows(query, owner))[0])

    async def keep_newest(self, owner: str, count: int, size: int) -> int:
        query = (
            "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM (SELECT rowid, "
            "row_number() OVER newest AS place, sum(size) OVER newest AS bytes FROM entries WHERE owner = ?1 "
            "WINDOW newest AS (ORDER BY used_at DESC, rowid DESC)) WHERE place > ?2 OR bytes > ?3) "
            "RETURNING 1"
        )
        gone = len(await self._db.rows(query, owner, count, size))
        if gone:
            # A conversation goes as a whole.
            await self._db.rows(
                "DELETE FROM entries WHERE owner = ?1 AND conversation != '' AND conversation NOT IN "
                "(SELECT id FROM entries WHERE owner = ?1 AND kind = 'conversation')",
                owner,
            )
        return gone

    async def expire(self, since: float) -> int:
        return len(await self._db.rows("DELETE FROM entries WHERE used_at <= ? RETURNING 1", since))


def _written(values: Sequence[Any]) -> list[Any]:
    return [json.dumps(value) if isinstance(value, tuple) else value for value in values]


def _entry(row: Sequence[Any]) -> Entry:
    values = dict(zip((field.name for field in fields(Entry)), row, strict=True))
    return Entry(**{**values, "item_ids": tuple(json.loads(values["item_ids"]))})
