"""The key ring: all valid keys, from the settings and from the key file as it is now."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from claude_server.http.guard import keys
from claude_server.http.guard.keyfile import KeyFile, KeyFileFailed
from claude_server.http.guard.keys import Key

log = structlog.get_logger("guard")


class KeyRing:
    """`required` once a key is set, and from then on: a server whose last key is revoked, or whose key file
    is broken or gone, lets nobody in, where it could have let in everybody."""

    def __init__(self, fixed: Sequence[Key], file: KeyFile) -> None:
        self._fixed = tuple(fixed)
        self._file = file
        self._latched = bool(self._fixed)
        self._reported: KeyFileFailed | None = None

    def __repr__(self) -> str:
        return f"<KeyRing fixed={len(self._fixed)} file={self._file.path.name} required={self._latched}>"

    def current(self) -> tuple[Key, ...]:
        """All keys that are valid now."""
        try:
            kept = self._file.load()
        except KeyFileFailed as error:
            self._latched = True
            if self._reported is None or str(self._reported) != str(error):
                log.error("no key of the key file is accepted", problem=str(error))
            self._reported = error
            return self._fixed
        self._reported = None
        present = self._fixed + kept
        self._latched = self._latched or bool(present)
        return present

    @property
    def fixed(self) -> bool:
        """Are there keys of the settings?"""
        return bool(self._fixed)

    @property
    def required(self) -> bool:
        """Must a request bring a key?"""
        if not self._latched:
            self.current()
        return self._latched

    def find(self, token: bytes) -> Key | None:
        """The key that `token` is."""
        return keys.find(self.current(), token)
