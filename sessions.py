"""The sessions that the server keeps.

This is a face: the room is claude_server/stores/sessions.py.
"""

from __future__ import annotations

from claude_server.stores.sessions import (
    LONGEST_PAGE,
    SCHEMA_VERSION,
    Lock,
    Session,
    SessionCounts,
    SessionOwnedByOther,
    SessionRecord,
    SessionRegistry,
    SessionSummary,
    StoreError,
    session_uuid,
)

__all__ = [
    "LONGEST_PAGE",
    "SCHEMA_VERSION",
    "Lock",
    "Session",
    "SessionCounts",
    "SessionOwnedByOther",
    "SessionRecord",
    "SessionRegistry",
    "SessionSummary",
    "StoreError",
    "session_uuid",
]
