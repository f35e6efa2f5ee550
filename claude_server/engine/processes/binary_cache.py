"""What was found out about a binary, kept in a file, so that it is found out once."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from claude_server import private


def signature_of(file: str) -> str:
    """Tells one content of a file from another, behind links too; "" if it is gone. Costs some 2 us."""
    try:
        found = os.stat(file)  # noqa: PTH116
    except OSError:
        return ""
    return f"{file} {found.st_size} {found.st_mtime_ns} {found.st_ino}"


class BinaryCache:
    """JSON by the signature of a binary, in a file. A file that can't be read or written does no harm."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, signature: str) -> Any:
        """What was found for this binary; None if nothing can be read."""
        try:
            return json.loads(self._path.read_text())[signature]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, signature: str, found: Any) -> None:
        """Keep it, alone: an older binary's is of no use."""
        with contextlib.suppress(OSError):
            private.replace(self._path, json.dumps({signature: found}, indent=2))
