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
    SUSPENDED = "suspended"  # turns that left their worker waiting at calls
    RESUMED = "resumed"  # turns that went on in one


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
    # Of those that wait at calls.
    WAITED_LONG = "waited long"
    SUSPENDED_CAP = "suspended cap"
    PLACE_WANTED = "place wanted"
    OTHERWISE_CONTINUED = "otherwise continued"
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


class Fallback(Enum):
    """Why a turn that brings results was not served by the worker that waits for them."""

    UNKNOWN = "unknown calls"  # no worker of this server waits at them, nor did lately
    EVICTED = "worker evicted"
    TOO_LATE = "waited too long"
    DIED = "worker died"
    USED = "already gone on"  # by a turn that runs, or that failed
    OTHER_OWNER = "another key's worker"
    HISTORY = "earlier message changed"
    SYSTEM = "system prompt changed"
    MODEL = "model changed"
    TOOLS = "tools changed"
    EFFORT = "effort changed"
    LIMITS = "limits changed"
    MISSING = "results missing"
    MORE = "more than results"
    TOO_LONG = "result too long"
    UNFIT = "result not passed on as it is"


Counted = Count | Retired | Fallback


def shown(what: Counted) -> str:
    """The name of a counter in /health."""
    if isinstance(what, Count):
        return what.value
    return f"{'retired' if isinstance(what, Retired) else 'not resumed'}: {what.value}"
