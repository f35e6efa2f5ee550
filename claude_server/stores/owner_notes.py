"""Whose a conversation is, noted beside the records: it is known when those are lost."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_server import private
from claude_server.core.ports import StoreError


class FileOwnerNotes:
    """The OwnerNotes of a state folder: a small file for each session of a key, named by the session's UUID,
    in `folder`. It holds a hash of the key's id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def is_owner(self, uuid: str, owner: str) -> bool | None:
        with _as_store_errors():
            try:
                noted = await asyncio.to_thread((self._folder / uuid).read_bytes)
            except FileNotFoundError:
                return None
        return noted == _note(uuid, owner).encode()

    async def write(self, uuid: str, owner: str) -> None:
        with _as_store_errors():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / uuid
            await asyncio.to_thread(private.replace, path, _note(uuid, owner))

    async def erase(self, uuid: str) -> None:
        with _as_store_errors():
            await asyncio.to_thread((self._folder / uuid).unlink, missing_ok=True)


def _note(uuid: str, owner: str) -> str:
    return hashlib.sha256(f"{uuid}\n{owner}".encode()).hexdigest()


@contextmanager
def _as_store_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"the note of the session's owner: {error}") from error
