"""Times as clients read them. Pure."""

from __future__ import annotations

from datetime import datetime, timezone


def iso(seconds: float) -> str:
    """ISO 8601 in UTC, of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
