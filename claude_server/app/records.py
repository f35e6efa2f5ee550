"""What is kept in the state folder from one start to the next."""

from __future__ import annotations

from typing import NamedTuple

from claude_server.configuration.settings import Settings
from claude_server.stores.responses import SqliteResponseStore
from claude_server.stores.sessions import SessionRegistry
from claude_server.stores.thoughts import Bounds, SqliteThoughtStore


class Records(NamedTuple):
    """The stores of a server. Each says what it keeps and where it moved a file that it could not read."""

    sessions: SessionRegistry
    thoughts: SqliteThoughtStore
    responses: SqliteResponseStore


def records(settings: Settings) -> Records:
    """The stores that the settings ask for, closed."""
    folder = settings.state_dir
    return Records(
        SessionRegistry(folder, settings.session_ttl),
        SqliteThoughtStore(folder, Bounds(age=settings.thinking_ttl)),
        SqliteResponseStore(folder),
    )
