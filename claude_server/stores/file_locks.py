"""Locks among the servers on one state folder: one byte of a file for each name.

Two locks keep turns of one session apart. An asyncio.Lock does it in this process; the ByteLock does it
against other servers. POSIX byte locks end with the process, whatever ends it, and leave no file per session
behind. Within one process they exclude nothing, and closing any descriptor of the file gives up all of them:
so the file is opened once, and closed at the end.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from claude_server.core.ports import Acquire, StoreError

_FOREIGN_LOCK_POLL = 0.05
_PRIVATE_FILE = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


class FileLocks:
    """The SessionLocks of a state folder, which is made if missing, with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sessions.lock"
        self._fd: int | None = None
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def __repr__(self) -> str:
        return f"<FileLocks {self._path.parent.name} busy={self.busy}>"

    @property
    def busy(self) -> list[str]:
        """The names that this process holds or waits for, sorted."""
        return sorted(self._locks)

    async def open(self) -> None:
        """Raises StoreError."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, _PRIVATE_FILE, 0o600)
        except OSError as error:
            raise StoreError(f"{self._path.name} can't be opened: {error.strerror}") from error

    async def close(self) -> None:
        """Close the file, which gives up every byte lock of this process in it. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @asynccontextmanager
    async def hold(self, name: str, acquire: Acquire) -> AsyncIterator[None]:
        """Hold a name while the context is open. Waits through `acquire`, for this process and for others."""
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            await acquire(lock)
            try:
                if self._fd is None:
                    raise RuntimeError("open() was not called")
                byte = ByteLock(self._fd, name)
                await acquire(byte)
                try:
                    yield
                finally:
                    byte.release()
            finally:
                lock.release()
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)


class ByteLock:
    """A session's byte in the lock file."""

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
