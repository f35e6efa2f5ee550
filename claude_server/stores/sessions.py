"""The sessions of a state folder: SQLite keeps the records, file locks keep the turns apart, small files
say whose they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from claude_server.core.sessions import Sessions
from claude_server.stores.file_locks import FileLocks
from claude_server.stores.owner_notes import FileOwnerNotes
from claude_server.stores.sqlite import SqliteSessionStore


class SessionRegistry(Sessions):
    """Session id to record and lock. `folder` is made if missing, with mode 0700. A session expires `ttl`
    seconds after its last use."""

    def __init__(self, folder: Path, ttl: float = 3600.0, clock: Callable[[], float] = time.time) -> None:
        self._records = SqliteSessionStore(folder)
        super().__init__(self._records, FileLocks(folder), FileOwnerNotes(folder / "owners"), ttl, clock)
        self._folder = folder

    def __repr__(self) -> str:
        return f"<SessionRegistry {self._folder.name} busy={self.locks.busy}>"

    what = "the session records"

    @property
    def moved_aside(self) -> Path | None:
        """Where open() moved a file that held no records; None if there was none."""
        return self._records.moved_aside
