"""Every claude process that this server has, from its start until it is reaped."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path

from claude_cli import argv, transcripts
from claude_cli.argv import Launch
from claude_cli.process import CliProcess, spawn
from turns.errors import CliFailed, NotReady, TurnError

# Starting a process blocks the event loop for a few ms and a core for 0.3 s.
_STARTS_AT_A_TIME = 2


class ProcessTable:
    """Starts processes and sees each one to its end. `binary` is an absolute path."""

    def __init__(
        self, binary: str, state_dir: Path, environ: Mapping[str, str], setting_sources: str
    ) -> None:
        self._binary = binary
        self._environ = environ
        self._setting_sources = setting_sources
        # One folder for all: newer CLIs print it into the request, and a resume needs the same one.
        self.cwd = private_folder(state_dir / "work")
        self._tmp = private_folder(state_dir / "tmp")
        self._owner = f"{os.getpid()}-{time.time_ns()}"
        self._starts = asyncio.Semaphore(_STARTS_AT_A_TIME)
        self._live: set[CliProcess] = set()
        self._by_session: dict[str, CliProcess] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<ProcessTable live={sorted(p.pid for p in self._live)}>"

    def __len__(self) -> int:
        return len(self._live)

    def transcript(self, session_uuid: str) -> Path:
        """Where the CLI keeps the conversation of this session."""
        return transcripts.transcript(self._environ, self.cwd, session_uuid)

    async def start(self, launch: Launch) -> CliProcess:
        """A new process. Raises TurnError if it can't be started."""
        session = launch.session
        if session is not None:
            # Two processes on one transcript lose turns: the one before must be gone.
            before = self._by_session.get(session.uuid)
            if before is not None:
                await before.exited.wait()
            if session.how == "create":
                self.transcript(session.uuid).unlink(missing_ok=True)
        async with self._starts:
            try:
                process = await spawn(
                    argv.arguments(self._binary, launch, self._setting_sources),
                    argv.environment(self._environ, self._owner, self._tmp),
                    self.cwd,
                )
            except OSError as error:
                raise _start_error(error) from error
        self._live.add(process)
        if session is not None:
            self._by_session[session.uuid] = process
        return process

    def retire(self, process: CliProcess, *, now: bool) -> None:
        """See a process to its end: killed `now`, or by end of input and what follows. Returns at once."""
        process.listener = None
        if now:
            process.terminate()
        task = asyncio.get_running_loop().create_task(self._see_to_end(process, now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Kill all; returns when none is left."""
        for process in tuple(self._live):
            self.retire(process, now=True)
        await asyncio.gather(*self._tasks)

    async def _see_to_end(self, process: CliProcess, now: bool) -> None:
        await process.end(now=now)
        self._live.discard(process)
        for uuid, other in tuple(self._by_session.items()):
            if other is process:
                del self._by_session[uuid]


def private_folder(path: Path) -> Path:
    """The folder, made with mode 0700 if missing, without symbolic links in its name."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.resolve()


def _start_error(error: OSError) -> TurnError:
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOEXEC):
        return NotReady(f"The claude CLI can't be started: {error}. Set CLAUDE_BIN to a working one.")
    return CliFailed(f"The system can't start another process: {error}.", retry_after=1.0)
