"""The key file: keys as hashes, read again whenever the file changes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from claude_server import private
from claude_server.http.guard import keys
from claude_server.http.guard.keys import Key, KeyLimits

_PRIVATE = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


class KeyFileFailed(Exception):
    """The file can't be read, written, or understood; the message says which, and what to do."""


class NameTaken(Exception):
    """There is a key of this name already."""


class NoSuchKey(Exception):
    """There is no key of this name."""


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def _parse(raw: bytes) -> tuple[Key, ...]:
    return _Stored.model_validate_json(raw).keys


class KeyFile:
    """`keys.json` in the state folder: mode 0600, replaced as a whole, so that a reader sees the old one or
    the new one. No file: no keys."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self._file: private.WatchedFile[tuple[Key, ...]] = private.WatchedFile(self.path, _parse, ())

    def load(self) -> tuple[Key, ...]:
        """The keys as they are now; the file is read again only when it has changed. Raises KeyFileFailed."""
        try:
            return self._file.load()
        except OSError as error:
            raise KeyFileFailed(f"{self.path} can't be read: {error.strerror}.") from None
        except ValidationError:
            raise KeyFileFailed(
                f"{self.path} holds no keys that this version understands: move it away, then add them again."
            ) from None

    def add(self, name: str, limits: KeyLimits, *, operator: bool = False) -> str:
        """Make a key and keep its hash; returns the key, which can't be shown again.

        Raises NameTaken, KeyFileFailed, and pydantic's ValidationError for a name that can't be one.
        """
        token = keys.new_token()
        made = Key(
            id=keys.new_id(),
            name=name,
            sha256=keys.fingerprint(token.encode()),
            created_at=time.time(),
            limits=limits,
            operator=operator,
        )
        with self._locked():
            present = self.load()
            if any(key.name == name for key in present):
                raise NameTaken
            self._write((*present, made))
        return token

    def revoke(self, name: str) -> int:
        """Forget a key; returns how many are left. Raises NoSuchKey, KeyFileFailed."""
        with self._locked():
            present = self.load()
            left = tuple(key for key in present if key.name != name)
            if left == present:
                raise NoSuchKey
            self._write(left)
        return len(left)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file lock, so that two commands don't overwrite each other's changes."""
        try:
            lock = os.open(self.path.with_suffix(".lock"), _PRIVATE, 0o600)
        except OSError as error:
            raise KeyFileFailed(f"{self.path.parent} can't be written to: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, present: tuple[Key, ...]) -> None:
        try:
            private.replace(self.path, _Stored(keys=present).model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise KeyFileFailed(f"{self.path} can't be written: {error.strerror}.") from None
