"""What models thought before their calls, in SQLite in the state folder, and in memory in front of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_server.core.model import RedactedThinking, Thinking, Thought
from claude_server.core.ports import CallThoughts
from claude_server.stores.database import Database, FileStore, Schema

THOUGHTS_VERSION = 1
# `content` is the JSON of the thoughts before the text in front of the call, and of those behind it.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS thoughts (
    owner TEXT NOT NULL, call TEXT NOT NULL, model TEXT NOT NULL, content TEXT NOT NULL,
    size INTEGER NOT NULL, kept_at REAL NOT NULL, PRIMARY KEY (owner, call)
) STRICT
"""
_AGE_INDEX = "CREATE INDEX IF NOT EXISTS thought_ages ON thoughts (kept_at, size)"
_FEW = 50
_VALUES = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(6))
# The oldest of what is beyond the bounds, its newest ones counted first.
_TRIM = """
DELETE FROM thoughts WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, row_number() OVER newest AS place, sum(size) OVER newest AS bytes FROM thoughts
        WINDOW newest AS (ORDER BY kept_at DESC, rowid DESC ROWS UNBOUNDED PRECEDING)
    ) WHERE place > ? OR bytes > ?
)
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds for which a note is kept (0: none is); the most notes, and bytes of them; the bytes in memory.
    A note of more than a sixteenth of the bytes is not kept."""

    age: float = 24 * 3600.0
    count: int = 100_000
    size: int = 256 * 1024 * 1024
    memory: int = 32 * 1024 * 1024


class SqliteThoughtStore(FileStore):
    """The ThoughtStore of a state folder. What one server has written or read lately it finds in memory.

    Old notes are removed now and then: there may be a sixteenth more than the bounds say. `clock` is seconds
    since the epoch.
    """

    def __init__(
        self, folder: Path, bounds: Bounds | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        statements = (_SCHEMA, _AGE_INDEX)
        super().__init__(Database(folder, "thoughts", Schema(self.what, THOUGHTS_VERSION, statements)))
        self._bounds = bounds or Bounds()
        self._clock = clock
        # Last used last: the note, its bytes, and when it was kept.
        self._memory: OrderedDict[tuple[str, str], tuple[CallThoughts, int, float]] = OrderedDict()
        # Bytes of the notes in memory.
        self.in_memory = 0
        self._new_notes = 0
        self._new_bytes = 0

    what = "the notes of Claude's thinking"

    async def open(self) -> None:
        await super().open()
        await self._trim()

    async def save(self, owner: str, notes: Collection[CallThoughts]) -> None:
        if not self._bounds.age:
            return
        now = self._clock()
        rows = []
        for note in notes:
            content = _content(note)
            if len(content) <= self._bounds.size // 16:
                rows.append((owner, note.call, note.model, content, len(content), now))
                self._remember(owner, note, len(content), now)
        await self._db.rows(
            f"INSERT OR REPLACE INTO thoughts SELECT {_VALUES} FROM json_each(?)", json.dumps(rows)
        )
        self._new_notes += len(rows)
        self._new_bytes += sum(row[4] for row in rows)
        if 16 * self._new_notes > self._bounds.count or 16 * self._new_bytes > self._bounds.size:
            await self._trim()

    async def load(self, owner: str, calls: Collection[str]) -> dict[str, CallThoughts]:
        since = self._clock() - self._bounds.age
        found: dict[str, CallThoughts] = {}
        for call in calls:
            held = self._memory.get((owner, call))
            if held is not None and held[2] > since:
                self._memory.move_to_end((owner, call))
                found[call] = held[0]
        missing = [call for call in calls if call not in found]
        if not missing:
            return found
        query = (
            "SELECT call, model, content, size, kept_at FROM thoughts WHERE owner = ? AND kept_at > ? "
            "AND call IN (SELECT value FROM json_each(?))"
        )
        rows = await self._db.rows(query, owner, since, json.dumps(missing))
        # As many as a long conversation has would hold the event loop.
        notes = _notes(rows) if len(rows) <= _FEW else await asyncio.to_thread(_notes, rows)
        for note, (*_, size, kept_at) in zip(notes, rows, strict=True):
            found[note.call] = note
            self._remember(owner, note, size, kept_at)
        return found

    def _remember(self, owner: str, note: CallThoughts, size: int, kept_at: float) -> None:
        _, before, _ = self._memory.pop((owner, note.call), (None, 0, 0.0))
        self._memory[owner, note.call] = note, size, kept_at
        self.in_memory += size - before
        while self.in_memory > self._bounds.memory:
            _, (_, gone, _) = self._memory.popitem(last=False)
            self.in_memory -= gone

    async def _trim(self) -> None:
        self._new_notes = self._new_bytes = 0
        await self._db.rows("DELETE FROM thoughts WHERE kept_at <= ?", self._clock() - self._bounds.age)
        await self._db.rows(_TRIM, self._bounds.count, self._bounds.size)


def _content(note: CallThoughts) -> str:
    return json.dumps([[_values(thought) for thought in part] for part in (note.leading, note.trailing)])


def _values(thought: Thought) -> list[str]:
    return [thought.data] if isinstance(thought, RedactedThinking) else [thought.text, thought.signature]


def _notes(rows: Sequence[Sequence[Any]]) -> list[CallThoughts]:
    notes = []
    for call, model, content, *_ in rows:
        leading, trailing = json.loads(content)
        notes.append(CallThoughts(call, model, tuple(map(_thought, leading)), tuple(map(_thought, trailing))))
    return notes


def _thought(values: list[Any]) -> Thought:
    return RedactedThinking(*values) if len(values) == 1 else Thinking(*values)
