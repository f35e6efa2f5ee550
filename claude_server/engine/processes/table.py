"""Every claude process that this server has, from its start until it is reaped."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import psutil
import structlog

from claude_server.core.errors import CliFailed, NotReady, Overloaded
from claude_server.core.model import SessionPlan
from claude_server.engine.processes import argv, cli_tools, transcripts
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.processes.process import CliProcess, spawn
from claude_server.engine.processes.sweep import kill_marked
from claude_server.engine.protocol import frames
from claude_server.engine.protocol.redact import secrets_in
from claude_server.engine.protocol.transcript import Conversation, transcript

# Starting a process blocks the event loop for a few ms and a core for 0.3 s.
_MAX_PARALLEL_STARTS = 2
# Not a table's own: after an update of the CLI two tables have processes on one state folder.
_folder_numbers = itertools.count(1)

log = structlog.get_logger("claude_cli")


class ProcessTable:
    """Starts processes and sees each one to its end.

    `binary` is an absolute path, `signature` that of the file: what another one can do isn't known, so no
    process of another one is handed out.
    """

    def __init__(
        self, binary: str, signature: str, state_dir: Path, environ: Mapping[str, str], setting_sources: str
    ) -> None:
        self._binary = binary
        self._signature = signature
        self._environ = environ
        self._setting_sources = setting_sources
        self._config_dir = transcripts.config_dir(environ)
        self._config_file = transcripts.config_file(environ)
        self._private = (
            # Where a tool for files could find keys, were they in the folder that it may use.
            *(state_dir.resolve() / name for name in ("keys.json", "mcp.json", "tools.json")),
            *(state_dir.resolve() / name for name in ("sessions.sqlite3*", "owners/**")),
            # The login, and what the CLI lets its tools into by itself, wherever they work: conversations,
            # memories and lists of tasks, which are other callers' too. By both names, where one is a link.
            *(folder / "**" for folder in {self._config_dir, self._config_dir.resolve()}),
        )
        # One folder for all: newer CLIs print it into the request, and a resume needs the same one.
        self.cwd = private_folder(work_folder(state_dir))
        self.tmp = private_folder(state_dir / "tmp")
        self._starts = asyncio.Semaphore(_MAX_PARALLEL_STARTS)
        self._live: dict[CliProcess, Path] = {}
        self._by_session: dict[str, CliProcess] = {}
        self._with_tools: dict[CliProcess, Launch] = {}
        self._hidden: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<ProcessTable live={sorted(p.pid for p in self._live)}>"

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, process: CliProcess) -> bool:
        return process in self._live

    def _folder(self, launch: Launch) -> Path:
        return Path(launch.folder) if launch.tools is not None else self.cwd

    def has_event(self, session_uuid: str, mark: str) -> bool:
        """Is the event in the session's transcript?"""
        path = transcripts.transcript(self._config_dir, self.cwd, session_uuid)
        return transcripts.contains_event(path, mark)

    async def wait_ended(self, session_uuid: str) -> None:
        """Wait for the end of a session's process, which was retired."""
        process = self._by_session.get(session_uuid)
        if process is not None:
            await process.exited.wait()

    async def start(self, launch: Launch) -> CliProcess:
        """A new process. Raises TurnError if it can't be started."""
        session = launch.session
        if session is not None:
            # Two processes on one transcript lose turns: the one before must be gone.
            await self.wait_ended(session.uuid)
            transcript = transcripts.transcript(self._config_dir, self._folder(launch), session.uuid)
            if session.how == "create":
                with _as_turn_errors():
                    transcripts.set_aside(transcript)
            elif session.at is not None:
                hidden = session.uuid in self._hidden
                self._hidden.discard(session.uuid)
                await asyncio.to_thread(_prepare_resume, transcript, session, session.at, hidden)
        owner = os.getpid()
        with _as_turn_errors():
            folder = _new_process_folder(self.tmp / str(owner))
        environment = argv.environment(self._environ, owner, folder, launch)
        try:
            if launch.conversation is not None and not await _write_transcript(folder, launch.conversation):
                launch = replace(launch, conversation=None)
            with _as_turn_errors():
                _write_files(folder, launch, environment)
            command = argv.arguments(self._binary, launch, self._setting_sources, folder, self._private)
            async with self._starts:
                with _as_turn_errors():
                    process = await spawn(command, environment, self._folder(launch))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        servers = launch.tools.servers if launch.tools is not None else ()
        process.secrets = secrets_in(
            {**environment, **dict(pair for server in servers for pair in server.env)},
            [pair for server in servers for pair in server.headers],
        )
        process.loaded = launch.conversation is not None
        self._live[process] = folder
        if launch.tools is not None:
            self._with_tools[process] = launch
        if session is not None:
            self._by_session[session.uuid] = process
        if signature_of(self._binary) != self._signature:
            self.retire(process, now=True)
            raise CliFailed("The claude CLI was replaced by another one.")
        return process

    def forget_transcript(self, process: CliProcess) -> None:
        """Remove the earlier messages that a process has read."""
        with suppress(OSError):
            (self._live[process] / argv.TRANSCRIPT_FILE).unlink(missing_ok=True)

    def retire(self, process: CliProcess, *, now: bool) -> None:
        """See a process to its end: killed `now`, or by end of input and what follows. Returns at once.

        One with tools and no session is told to end, so that it removes what they wrote, and killed if it
        doesn't.
        """
        process.listener = None
        launch = self._with_tools.get(process)
        if launch is not None:
            # What its tools started is in groups of its own, and found by its parents as long as they live.
            started = _descendants(process.pid)
            if launch.session is None:
                now = False
                process.terminate()
            else:
                process.kill()
            for other in started:
                with suppress(psutil.Error):
                    other.kill()
        # A session's process never ends by itself: in its goodbye, newer CLIs note where a resume begins, and
        # that note would hide the next turn whose process was killed before its own.
        if now or process in self._by_session.values():
            process.kill()
        task = asyncio.get_running_loop().create_task(self._reap(process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Kill all; returns when none is left."""
        for process in tuple(self._live):
            self.retire(process, now=True)
        await asyncio.gather(*self._tasks)
        ours = self.tmp / str(os.getpid())
        # Not all that bear our mark: a CLI is tried out, in folders of its own, while turns run here.
        await asyncio.to_thread(kill_marked, ours)
        shutil.rmtree(ours, ignore_errors=True)

    async def _reap(self, process: CliProcess) -> None:
        await process.end()
        for uuid, other in tuple(self._by_session.items()):
            if other is process:
                del self._by_session[uuid]
                if transcripts.RESUME_POINT_HIDDEN in process.stderr:
                    self._hidden.add(uuid)
        launch = self._with_tools.pop(process, None)
        if launch is not None:
            await asyncio.to_thread(kill_marked, self._live[process])
            await asyncio.to_thread(self._remove_left, launch)
        folder = self._live.pop(process, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            transcripts.remove_traces(self._config_dir, self._config_file, process.pid)

    def _remove_left(self, launch: Launch) -> None:
        """Remove what an ended process with tools left in the CLI's folder, and no session needs. Blocks."""
        if not launch.trace:
            return
        try:
            transcripts.remove_snapshots(self._config_dir, launch.trace)
            transcripts.erase(self._config_dir, Path(launch.folder), launch.trace)
        except OSError as error:
            log.warning("what the CLI's tools left could not be removed", error=str(error))


def _prepare_resume(transcript: Path, session: SessionPlan, at: str, hidden: bool) -> None:
    """See to it that a resume finds the event `at`, and after it only what the question will say. Blocks."""
    transcripts.check_unbroken(transcript, session.uuid, at)
    end = at
    if session.results:
        results = frames.user(session.results)["message"]
        end = transcripts.put_results(transcript, session.uuid, at, results)
    if hidden:
        transcripts.set_resume_point(transcript, session.uuid, end)


def _new_process_folder(parent: Path) -> Path:
    """A new folder for a process: what the CLI leaves in it goes with the process. `parent` may hold some of
    a server that was killed: in a container each has the same process id."""
    private_folder(parent)
    while True:
        folder = parent / str(next(_folder_numbers))
        with suppress(FileExistsError):
            folder.mkdir(0o700)
            return folder


def _write_files(folder: Path, launch: Launch, environment: Mapping[str, str]) -> None:
    """What a process reads at its start, in its private folder."""
    if launch.plain is not None:
        _write(folder / argv.SYSTEM_PROMPT_FILE, launch.plain)
    if launch.tools is not None and launch.tools.servers:
        config = cli_tools.mcp_config(launch.tools.servers, environment)
        _write(folder / cli_tools.MCP_CONFIG_FILE, config)


async def _write_transcript(folder: Path, conversation: Conversation) -> bool:
    """Write what a process reads at its start; False if the disk doesn't take it. In a thread: it may be
    megabytes."""
    now = datetime.now(timezone.utc).isoformat()

    def write() -> None:
        path = folder / argv.TRANSCRIPT_FILE
        path.touch(0o600)
        path.write_bytes(transcript(conversation, now))

    try:
        await asyncio.to_thread(write)
    except OSError as error:
        log.warning("earlier messages are told one by one: they can't be written", problem=str(error))
        return False
    return True


def _write(path: Path, text: str) -> None:
    """A file for its owner alone, for as long as a process lives."""
    path.touch(0o600)
    path.write_text(text, encoding="utf-8", errors="replace")


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def work_folder(state_dir: Path) -> Path:
    """The folder that every process runs in."""
    return state_dir / "work"


def private_folder(path: Path) -> Path:
    """The folder, made with mode 0700 if missing, without symbolic links in its name. A folder that this one
    is in, if it is missing too, gets the mode of any other."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.resolve()


@contextmanager
def _as_turn_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOEXEC):
            message = f"The claude CLI can't be started: {error}. Set CLAUDE_BIN to a working one."
            raise NotReady(message) from error
        raise Overloaded(f"The system can't start another process: {error}.", retry_after=1.0) from error
