"""What a pool counts, by the names that /health shows."""

from __future__ import annotations

from enum import Enum


class Count(Enum):
    """How leases were served, and what that took."""

    FRESH = "fresh"  # by an idle worker that had served nobody
    REUSED = "reused"  # by an idle worker that had
    WAITED = "waited"  # by the next one that was released or started
    STARTED = "started"
    FAILED_STARTS = "failed starts"
    LOADED = "loaded"  # processes that began with a long conversation
    STATE_STEPS = "state steps"  # steps of turns before their questions


class Retired(Enum):
    """Why a worker serves no further turn."""

    ENDED = "ended"
    NOT_CLEAN = "not clean"
    ONE_TURN = "one turn"
    NOT_SHARED = "not shared"
    TURNS = "turns"
    AGE = "age"
    IDLE = "idle"
    MEMORY = "memory"
    OTHER_KIND_WANTED = "other kind wanted"
    SESSION_ENDED = "session ended"
    SESSION_MOVED_ON = "session moved on"
    SESSION_CAP = "session cap"
    LOGIN_REFUSED = "login refused"
    NOT_WANTED = "not wanted"
    CLOSED = "closed"

    @property
    def kills(self) -> bool:
        """Is the process in a state in which it can't be expected to end by itself?"""
        return self is Retired.NOT_CLEAN


def shown(what: Count | Retired) -> str:
    """The name of a counter in /health."""
    return f"retired: {what.value}" if isinstance(what, Retired) else what.value
