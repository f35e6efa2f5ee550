"""The sessions that the server keeps.

This is a face: the rooms are claude_server/core/sessions.py and claude_server/stores/sessions.py.
"""

from __future__ import annotations

from claude_server.core.ports import (
    Lock,
    SessionCounts,
    SessionOwnedByOther,
    SessionRecord,
    SessionSummary,
    StoreError,
)
from claude_server.core.sessions import LONGEST_PAGE, Session, session_uuid
from claude_server.stores.sessions import SessionRegistry
from claude_server.stores.sqlite import SCHEMA_VERSION

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
