"""Claude processes and folders that a killed server left behind.

On Linux setpriv makes them die with us; elsewhere, and where it is missing, they are found at the next start
by the mark in their environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

from claude_server.engine.processes.argv import OWNER_MARK

_PS = ("ps", "axeww", "-o", "pid=,command=")
_PS_TIMEOUT = 10.0


def orphans(listing: str, alive: frozenset[int]) -> list[int]:
    """The process ids in `ps` output (id, command, environment a line) whose server isn't `alive`."""
    found = []
    for line in listing.splitlines():
        mark = re.search(rf"(?:^|\s){OWNER_MARK}=(\d+)(?:\s|$)", line)
        pid = re.match(r"\s*(\d+)\s", line)
        if mark and pid and int(mark[1]) not in alive:
            found.append(int(pid[1]))
    return found


def owners(listing: str) -> frozenset[int]:
    """The process ids of the servers that marked a process in `ps` output."""
    return frozenset(int(pid) for pid in re.findall(rf"(?:^|\s){OWNER_MARK}=(\d+)(?=\s|$)", listing, re.M))


def marked(listing: str, folder: Path) -> list[int]:
    """The process ids in `ps` output whose temporary folder is `folder`, or a numbered one in it."""
    mark = rf"^\s*(\d+)\s.*\sCLAUDE_CODE_TMPDIR={re.escape(str(folder))}(?:/\d+)?(?:\s|$)"
    return [int(pid) for pid in re.findall(mark, listing, re.MULTILINE)]


def kill_marked(folder: Path) -> int:
    """Kill every process whose temporary folder is `folder`, or in it: what a claude process started and
    left, in groups of their own. Returns how many. Blocks for some 20 ms."""
    return _killed(marked(_listing(), folder))


def kill_owned() -> int:
    """Kill every process that bears this server's mark, for its end: what an MCP server left when it was
    looked at has no folder. Returns how many. Blocks for some 20 ms."""
    listing = _listing()
    return _killed(orphans(listing, owners(listing) - {os.getpid()}))


def _killed(pids: Iterable[int]) -> int:
    """Kill them; how many there were."""
    killed = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def _listing() -> str:
    """What runs, with its environment; empty without `ps`."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            _PS, capture_output=True, text=True, errors="replace", timeout=_PS_TIMEOUT
        ).stdout
    return ""


def sweep(tmp: Path) -> int:
    """Kill what dead servers left running, remove their folders in `tmp`; returns how many were killed.

    Blocks for some 20 ms. Without `ps` no process is found.
    """
    listing = _listing()
    killed = _killed(orphans(listing, frozenset(pid for pid in owners(listing) if _alive(pid))))
    for folder in tmp.iterdir():
        if folder.name.isdigit() and not _alive(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
    return killed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
