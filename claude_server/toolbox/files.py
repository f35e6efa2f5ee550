"""Small files of records in the state folder."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from claude_server import private
from claude_server.core.errors import StateFailed

_M = TypeVar("_M", bound=BaseModel)


class RecordFile(Generic[_M]):
    """One JSON object: mode 0600, replaced as a whole. Two servers on one state folder see each other's."""

    def __init__(self, path: Path, empty: _M) -> None:
        self._path = path
        self._file = private.WatchedFile(path, type(empty).model_validate_json, empty)

    def load(self) -> _M:
        """What is there now. Raises StateFailed."""
        try:
            return self._file.load()
        except (OSError, ValidationError) as error:
            raise StateFailed(
                f"{self._path.name} in the state folder can't be read: repair it, or move it away."
            ) from error

    def save(self, value: _M) -> None:
        """Put this in its place. Raises StateFailed."""
        try:
            private.replace(self._path, value.model_dump_json(indent=1))
        except OSError as error:
            raise StateFailed(f"{self._path.name} can't be written: {error.strerror}.") from error
