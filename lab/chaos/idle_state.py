"""The server when idle: what it holds before and after a run."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from lab.bench.programs import Server

# Idle processes go after CLAUDE_WORKER_IDLE, which is looked at every five seconds; then they are ended.
_REST_WITHIN = 45.0
_LOOK_EVERY = 0.25


@dataclass(frozen=True)
class IdleState:
    """What a look shows. `processes` is the server's own count, `children` the system's; `orphans` are
    processes of this run that are no longer under the server; `zombies` have not been reaped."""

    running: int
    waiting: int
    tasks: int
    processes: int
    children: int
    orphans: int
    zombies: int
    descriptors: int
    threads: int
    folders: int
    rss_mb: float

    @property
    def quiet(self) -> bool:
        """Nothing runs, and of all processes only the one is left that is kept ahead of need."""
        return not self.running and not self.waiting and self.processes == self.children == 1

    def leaks(self, before: IdleState) -> dict[str, int]:
        """What must be 0 each, compared with the rest before the run."""
        return {
            "slots": self.running + self.waiting,
            "processes": abs(self.processes - self.children) + max(0, self.children - before.children),
            "orphans": self.orphans,
            "zombies": self.zombies,
            "descriptors": max(0, self.descriptors - before.descriptors),
            "tasks": max(0, self.tasks - before.tasks),
            "folders": max(0, self.folders - before.folders),
        }

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class ServerMonitor:
    """Looks at a server. `mark`: a text that the environment of every process of the run holds; `home` the
    folder that the server writes into, as we can open it."""

    def __init__(self, server: Server, mark: str, home: Path) -> None:
        self._server = server
        self._mark = mark.encode()
        self._home = home

    async def look(self) -> IdleState:
        async with httpx.AsyncClient(base_url=self._server.url, trust_env=False, timeout=30) as http:
            health: Mapping[str, Any] = (await http.get("/health")).json()
        process = self._server.process
        children = process.children()
        below = {child.pid for child in process.children(recursive=True)}
        zombies = [child for child in children if _is_zombie(child)]
        return IdleState(
            running=health["slots"]["running"],
            waiting=health["queue"]["waiting"],
            tasks=health["tasks"],
            processes=health["cli"]["processes"],
            children=len(children) - len(zombies),
            orphans=len(processes_with(self._mark) - below - {process.pid}),
            zombies=len(zombies),
            descriptors=process.num_fds(),
            threads=process.num_threads(),
            folders=len(list(self._home.glob(f"state/tmp/{process.pid}/*"))),
            rss_mb=round(process.memory_info().rss / 1024**2, 1),
        )

    async def settled(self) -> IdleState:
        """The first look at which all is quiet, or the last one before patience ends."""
        until = time.monotonic() + _REST_WITHIN
        while True:
            found = await self.look()
            if (found.quiet and not found.orphans and not found.zombies) or time.monotonic() > until:
                return found
            await asyncio.sleep(_LOOK_EVERY)


def processes_with(mark: bytes) -> set[int]:
    """Running processes whose environment holds this text, by Linux's /proc; not this one."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            # One that ended has no environment any more; another user's can't be read.
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    found.add(int(folder.name))
    return found


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
