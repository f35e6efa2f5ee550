"""The conversations that the CLI keeps on disk: finding and removing them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from claude_server.core.errors import StateFailed
from claude_server.engine.processes import transcripts
from claude_server.engine.processes.table import work_folder


class Conversations:
    """The transcripts of turns in the server's own folder and, if there is one, in `tools_folder`."""

    def __init__(self, environ: Mapping[str, str], state_dir: Path, tools_folder: Path | None) -> None:
        self.config_dir = transcripts.config_dir(environ)
        # Resolved, as a process sees it: the CLI derives the transcript's path from it.
        self._folders = [work_folder(state_dir).resolve()]
        if tools_folder is not None:
            self._folders.append(tools_folder)

    def holds(self, session_uuid: str, mark: str, *, tools: bool) -> bool:
        """Is there a transcript with the event `mark`? `tools`: one of turns with tools of the CLI's own."""
        path = transcripts.transcript(self.config_dir, self._folders[-1 if tools else 0], session_uuid)
        return transcripts.contains_event(path, mark)

    async def erase(self, session_uuid: str) -> bool:
        """Remove all transcripts of a session. Was there any? Raises StateFailed."""
        try:
            erase = partial(transcripts.erase, self.config_dir, session_uuid=session_uuid)
            return any([await asyncio.to_thread(erase, folder) for folder in self._folders])
        except OSError as error:
            raise StateFailed(f"The session's transcript can't be removed: {error}.") from error
