"""A lock against other servers on the same state folder: one byte of a file for each name."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib

_FOREIGN_LOCK_POLL = 0.05


class ByteLock:
    """A session's byte in the lock file. POSIX byte locks end with the process, whatever ends it, and leave
    no file per session behind; within one process they exclude nothing: that is the asyncio.Lock's part."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")

    def locked(self) -> bool:
        """Does another process hold it? If not, this call acquires it: the system has no mere test."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._offset)
        except BlockingIOError:
            return True
        return False

    async def acquire(self) -> bool:
        # There is no event for the release of a file lock by another process.
        while self.locked():  # noqa: ASYNC110
            await asyncio.sleep(_FOREIGN_LOCK_POLL)
        return True

    def release(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._offset)
