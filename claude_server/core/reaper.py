"""Ends sessions: those that have expired, and those that a client deletes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import structlog

from claude_server.core.backend import Backend
from claude_server.core.errors import SessionConflict, SessionNotFound
from claude_server.core.ports import Lock, SessionOwnedByOther, StoreError
from claude_server.core.sessions import Sessions

_MAX_INTERVAL = 300.0
_MIN_INTERVAL = 0.5
_SWEEPS_PER_TTL = 12

log = structlog.get_logger("sessions")


class SessionReaper:
    """Ends the processes of expired and deleted sessions. `patience`: seconds a deletion waits for a turn."""

    def __init__(
        self,
        backend: Backend,
        sessions: Sessions,
        *,
        patience: float = 10.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._backend = backend
        self._sessions = sessions
        self._patience = patience
        self._sleep = sleep

    @property
    def interval(self) -> float:
        """Seconds between two sweeps: a twelfth of a session's lifetime, 5 minutes at most."""
        return min(_MAX_INTERVAL, max(_MIN_INTERVAL, self._sessions.ttl / _SWEEPS_PER_TTL))

    async def run(self) -> None:
        """Sweep at each interval, until cancelled."""
        while True:
            await self._sleep(self.interval)
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("expired sessions can't be looked for; tried again later", problem=str(error))
            except Exception:
                # The edge of a task of its own: after it, no session's process would end any more.
                log.exception("a fault of ours while expired sessions were ended")

    async def sweep(self) -> None:
        """End the idle processes of sessions that have expired, or that another server deleted."""
        # Mostly no process is kept, and the sweep costs nothing.
        if kept := self._backend.kept_sessions():
            for session_uuid in await self._sessions.expired(kept):
                self._backend.end_session(session_uuid)

    async def delete(self, owner: str, session_id: str) -> None:
        """End a session's process, erase its transcript and its record. An expired session too.

        Raises SessionNotFound, SessionConflict if a turn runs in it for longer than we wait, StateFailed.
        """
        deadline = anyio.current_time() + self._patience

        async def acquire(lock: Lock) -> None:
            with anyio.fail_after(max(0.0, deadline - anyio.current_time())):
                await lock.acquire()

        try:
            async with self._sessions.hold(owner, session_id, acquire) as session:
                if not session.known:
                    raise SessionNotFound("Session not found")
                # The record goes last: without it, what is left of a transcript would be resumed.
                erased = await self._backend.erase(session.uuid)
                if session.record is None and not erased:
                    raise SessionNotFound("Session not found")
                await session.delete()
        except SessionOwnedByOther:
            raise SessionNotFound("Session not found") from None
        except TimeoutError:
            raise SessionConflict(
                "A turn is running in this session. Delete it when the turn has ended."
            ) from None
