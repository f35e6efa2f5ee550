"""The implementations of the core's stores, as the conformance suite needs them."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from claude_server.core.ports import OwnerNotes, ResponseStore, SessionLocks, SessionStore, ThoughtStore
from claude_server.stores.file_locks import FileLocks
from claude_server.stores.owner_notes import FileOwnerNotes
from claude_server.stores.responses import SqliteResponseStore
from claude_server.stores.sqlite import SqliteSessionStore
from claude_server.stores.thoughts import Bounds, SqliteThoughtStore
from tests.support import Clock


class Implementation(Protocol):
    """A kind of store. What is made for one `place` shares its records, in every process of the machine."""

    def store(self, place: Path) -> SessionStore: ...

    def locks(self, place: Path) -> SessionLocks: ...

    def notes(self, place: Path) -> OwnerNotes: ...

    def responses(self, place: Path) -> ResponseStore: ...
    def thoughts(self, place: Path, bounds: Bounds, clock: Clock) -> ThoughtStore: ...

    def make_newer(self, place: Path) -> None:
        """Mark all records as those of a newer server."""

    def full(self, place: Path) -> AbstractContextManager[None]:
        """While it is open, this process finds no room for what it writes."""


class StateFolder:
    """SQLite, file locks and small files."""

    def store(self, place: Path) -> SqliteSessionStore:
        return SqliteSessionStore(place)

    def locks(self, place: Path) -> FileLocks:
        return FileLocks(place)

    def notes(self, place: Path) -> FileOwnerNotes:
        return FileOwnerNotes(place / "owners")

    def responses(self, place: Path) -> SqliteResponseStore:
        return SqliteResponseStore(place)

    def thoughts(self, place: Path, bounds: Bounds, clock: Clock) -> SqliteThoughtStore:
        return SqliteThoughtStore(place, bounds, clock)

    def make_newer(self, place: Path) -> None:
        for file in place.glob("*.sqlite3"):
            with contextlib.closing(sqlite3.connect(file)) as db:
                db.execute("PRAGMA user_version=1000")

    @contextlib.contextmanager
    def full(self, place: Path) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Python ignores the signal; what is written behind the first byte of a file fails.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


IMPLEMENTATIONS: dict[str, Implementation] = {"state folder": StateFolder()}
