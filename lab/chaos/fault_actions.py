"""What is done to the server from outside: to its processes, its CLI, its disk. Linux only."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from lab.bench.programs import Server

# Of the file system that the server's home is on.
DISK_MB = 64
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--")
# A write of less than 4096 bytes to a pipe is never mixed with another one.
_GARBAGE = (
    b"DeprecationWarning: something is old\n",
    b'{"type":"news","subtype":"today"}\n',
    b'{"type":5}\n[]\nnull\n',
    b"\x00\xff\xfe not even text\n",
    b'{"type":"stream_event","event":{"type":"ping"}}\n',
    b"\n\r\n \n",
)
_A_LOT = b"the same line again and again\n" * 30
_TORN = b'{"type":"stream_event","ev'


class Disk:
    """The server's home on a small file system, in a mount namespace of the server's own; where that is not
    allowed, on the common one, and a full disk is a limit of 0 bytes on the size of files."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._filler = "filler"
        may = subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0
        self.kind = "a tmpfs" if may else "a limit on the size of files"
        self._mounted = may

    def wrapping(self) -> Sequence[str]:
        """What the server's command line is given to."""
        if not self._mounted:
            return ()
        mount = f'mount -t tmpfs -o size={DISK_MB}m,mode=700 chaos "$0" && cd "$0" && exec "$@"'
        return (*_UNSHARE, "sh", "-c", mount, str(self._home))

    def seen(self, server: Server) -> Path:
        """The server's home as we can open it."""
        return Path(f"/proc/{server.process.pid}/root{self._home}") if self._mounted else self._home

    def fill(self, server: Server) -> None:
        if not self._mounted:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with (self.seen(server) / self._filler).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 65536):
                pass

    def free(self, server: Server) -> None:
        if not self._mounted:
            limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
            return
        (self.seen(server) / self._filler).unlink(missing_ok=True)


class Link:
    """The name under which the server finds the CLI, and what is behind it."""

    def __init__(self, path: Path, binaries: Sequence[str]) -> None:
        self.path = path
        self._binaries = list(binaries)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.restore()

    def swap(self) -> None:
        """The next binary, in one step, as an update would do it."""
        self._binaries.append(self._binaries.pop(0))
        self.restore()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def restore(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.symlink_to(self._binaries[0])
        fresh.replace(self.path)


def victim(server: Server, luck: float) -> psutil.Process | None:
    """One of the processes that the server started."""
    found = []
    for process in server.workers():
        with contextlib.suppress(psutil.Error):
            found.append((process.create_time(), process.pid, process))
    return sorted(found)[int(luck * len(found))][2] if found else None


def send(process: psutil.Process, sign: signal.Signals) -> bool:
    """Signal it; false if it is gone."""
    try:
        process.send_signal(sign)
    except (psutil.Error, ProcessLookupError):
        return False
    return True


def babble(process: psutil.Process, luck: float, what: str) -> bool:
    """Write to what the server reads as the process's standard output; false if there is no such pipe."""
    garbage = {"babble a lot": _A_LOT, "tear a line": _TORN}.get(what, _GARBAGE[int(luck * len(_GARBAGE))])
    try:
        out = Path(f"/proc/{process.pid}/fd/1")
        if not out.is_fifo():
            return False
        pipe = os.open(out, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, garbage)
        finally:
            os.close(pipe)
    except OSError:
        return False
    return True
