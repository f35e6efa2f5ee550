"""Which tools each key chose for itself and its sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from claude_server.toolbox.files import RecordFile

# Sessions of one key; then the one that was changed longest ago is forgotten. What a key chose for itself,
# and what others did, is not: it may be all that keeps a tool away from them.
_MAX_SESSIONS = 1000


class StoredToolConfig(BaseModel):
    """What one key chose, for the session or for itself ("session" None). Times: epoch seconds."""

    model_config = ConfigDict(frozen=True)

    owner: str
    session: str | None
    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] | None = None
    created_at: float
    updated_at: float


class _StoredToolConfigs(BaseModel):
    version: Literal[1] = 1
    kept: tuple[StoredToolConfig, ...] = ()


class ToolConfigStore:
    """`tools.json` in the state folder. All methods raise StateFailed."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = RecordFile(folder / "tools.json", _StoredToolConfigs())
        self._clock = clock

    def get(self, owner: str, session: str | None) -> StoredToolConfig | None:
        """What the key chose for this session, or for itself."""
        return next((k for k in self._file.load().kept if (k.owner, k.session) == (owner, session)), None)

    def sessions(self, owner: str) -> int:
        """For how many sessions the key chose something."""
        return sum(kept.owner == owner and kept.session is not None for kept in self._file.load().kept)

    def update(
        self,
        owner: str,
        session: str | None,
        allowed: tuple[str, ...] | None,
        denied: tuple[str, ...] | None,
    ) -> None:
        """Note a choice; None leaves what was chosen before."""
        now = self._clock()
        before = self.get(owner, session) or StoredToolConfig(
            owner=owner, session=session, created_at=now, updated_at=now
        )
        update = {
            "allowed": before.allowed if allowed is None else allowed,
            "denied": before.denied if denied is None else denied,
            "updated_at": now,
        }
        others = [k for k in self._file.load().kept if (k.owner, k.session) != (owner, session)]
        kept = (*others, before.model_copy(update=update))
        old = [k for k in kept if k.owner == owner and k.session is not None][:-_MAX_SESSIONS]
        self._file.save(_StoredToolConfigs(kept=tuple(k for k in kept if k not in old)))
