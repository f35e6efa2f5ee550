"""A running claude process: pipes in, frames out, and an end that always comes.

All callbacks run on the event loop. Nothing here decides what is written or what a frame means.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import structlog

from claude_server.descriptors import check_room_for_start
from claude_server.engine.protocol.frames import Frame, is_torn, parse
from claude_server.engine.protocol.framing import LineSplitter, LineTooLong
from claude_server.engine.protocol.redact import redacted, without_secrets

_STDERR_KEPT = 16 * 1024
# A stray line on stdout is skipped; a process that keeps babbling is not the one we know.
_GARBAGE_ALLOWED = 10
# Seconds that end of input, then SIGTERM, are given before the next rung; the last one is SIGKILL.
_RUNGS = (2.0, 1.0)
# A grandchild may hold stdout open after the process is gone.
_PIPE_GRACE = 0.2

log = structlog.get_logger("claude_cli")


class Listener(Protocol):
    """Who a process's frames go to."""

    def frame(self, frame: Frame) -> None: ...

    def ended(self, problem: str | None) -> None:
        """No more frames. `problem`: what was wrong with its output, None if it simply ended."""


class CliProcess(asyncio.SubprocessProtocol):
    """Made by `spawn()`. `listener` gets what comes; without one, frames are dropped."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.returncode: int | None = None
        self.ended = False
        self.exited = asyncio.Event()
        self._closed = asyncio.Event()
        self.pid = 0
        # What it was given, and must not be told to anybody.
        self.secrets: frozenset[str] = frozenset()
        # Did it read earlier messages at its start?
        self.loaded = False
        self._stderr = bytearray()
        self._splitter = LineSplitter()
        self._garbage = 0
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None

    def __repr__(self) -> str:
        state = f"exit={self.returncode}" if self.exited.is_set() else "running"
        return f"<CliProcess {self.pid} {state}>"

    @property
    def stderr(self) -> str:
        """The last of what it wrote to standard error, without keys and tokens."""
        return redacted(self._stderr.decode("utf-8", "replace"), self.secrets)

    def write(self, data: bytes) -> None:
        """Send bytes. What a dead process doesn't take is lost; its end is told to the listener."""
        if data and self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(data)

    @property
    def unread(self) -> int:
        """Bytes that were written and that the process has not taken yet, but for what the pipe holds."""
        return self._stdin.get_write_buffer_size() if self._stdin is not None else 0

    def close_input(self) -> None:
        """End of input, after what was written."""
        if self._stdin is not None:
            self._stdin.close()

    def set_paused(self, on: bool) -> None:
        """Read no further for now, so that it waits with its writing; or read on."""
        assert self._transport is not None
        pipe = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(1))
        if pipe is None or pipe.is_closing():
            return
        if not on:
            pipe.resume_reading()
        elif not self.exited.is_set():
            pipe.pause_reading()

    def kill(self) -> None:
        """SIGKILL to the group, now."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM to the group: unlike SIGKILL, it lets the CLI remove its own files."""
        self._signal(signal.SIGTERM)

    async def end(self) -> None:
        """End of input, then SIGTERM, then SIGKILL, to the whole group; returns when it is reaped."""
        self.close_input()
        for rung, sign in zip(_RUNGS, (signal.SIGTERM, signal.SIGKILL), strict=True):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.exited.wait(), rung)
            self._signal(sign)
        await self.exited.wait()
        self._close_pipes()
        await self._closed.wait()

    def _signal(self, sign: signal.Signals) -> None:
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, sign)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._stderr += data
            del self._stderr[:-_STDERR_KEPT]
            return
        try:
            lines = self._splitter.feed(data)
        except LineTooLong as error:
            self._broken(f"wrote {error}")
            return
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        frame = parse(line)
        if frame is not None:
            if self.listener is not None:
                self.listener.frame(without_secrets(frame, self.secrets))
            return
        self._garbage += 1
        log.warning("line from the claude CLI that is no JSON object", pid=self.pid, bytes=len(line))
        if is_torn(line):
            # A piece of the answer may have been in it.
            self._broken("wrote a line that something else was mixed into")
        elif self._garbage > _GARBAGE_ALLOWED:
            self._broken("kept writing lines that are no JSON objects")

    def _broken(self, problem: str) -> None:
        self.kill()
        self._end(problem)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1 and self.exited.is_set():
            self._end(None)

    def process_exited(self) -> None:
        assert self._transport is not None
        self.returncode = self._transport.get_returncode()
        # What it started and left must not outlive it, nor hold our pipes.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.exited.set()
        self.set_paused(False)
        # The last lines may still be in the pipe: its end comes by pipe_connection_lost, or not at all.
        asyncio.get_running_loop().call_later(_PIPE_GRACE, self._close_pipes)

    def _close_pipes(self) -> None:
        assert self._transport is not None
        self._transport.close()
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        self._end(None)

    def _end(self, problem: str | None) -> None:
        if not self.ended:
            self.ended = True
            listener, self.listener = self.listener, None
            if listener is not None:
                listener.ended(problem)


def with_parent_death_signal(argv: Sequence[str]) -> list[str]:
    """The command so that it dies with us, even by SIGKILL: on Linux with util-linux's setpriv."""
    setpriv = shutil.which("setpriv", path=os.defpath) if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)


async def spawn(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> CliProcess:
    """Start a process in a group of its own. Raises OSError."""
    check_room_for_start()
    loop = asyncio.get_running_loop()
    _, process = await loop.subprocess_exec(
        CliProcess, *with_parent_death_signal(argv), env=dict(env), cwd=cwd, start_new_session=True
    )
    return process
