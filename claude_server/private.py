"""Small files of the state folder: written for their owner alone, read again when they have changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

_T = TypeVar("_T")


class WatchedFile(Generic[_T]):
    """What a file holds now: `parse` of its bytes, `missing` where there is no file. The file is read only
    when it has changed, and a change by another process counts."""

    def __init__(self, path: Path, parse: Callable[[bytes], _T], missing: _T) -> None:
        self._path = path
        self._parse = parse
        self._missing = missing
        self._seen: tuple[int, ...] | None = None
        self._found: _T | ValueError = missing

    def load(self) -> _T:
        """Raises the ValueError of `parse`, kept like a value until the file changes, and OSError."""
        try:
            found = self._path.stat()
            # The time of the last change of anything about the file, which no program can set back, too.
            seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
            if seen != self._seen:
                self._found = self._read()
                self._seen = seen
        except FileNotFoundError:
            self._found, self._seen = self._missing, None
        if isinstance(self._found, ValueError):
            # Each time anew: a traceback that is raised again grows.
            raise self._found.with_traceback(None)
        return self._found

    def _read(self) -> _T | ValueError:
        raw = self._path.read_bytes()
        try:
            return self._parse(raw)
        except ValueError as error:
            return error


def replace(path: Path, text: str) -> None:
    """Put a file of mode 0600 in the place of another, as a whole: whatever ends us or the machine, and
    whoever else writes it, there is the old one or the new one. Waits for the disk. Raises OSError.
    """
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        fresh = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    # Its new name is in the folder, which has a cache of its own.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
