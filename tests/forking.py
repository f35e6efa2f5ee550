"""Servers that are forked from one process that has imported the server already.

`python claude_api.py` spends most of its start on imports, and the tests start hundreds of servers. A child
is as a fresh process in all that a server can see: its environment, folder, session, output and end.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LONGEST_REQUEST = 1 << 20


class ForkedServer:
    """`python claude_api.py`, as subprocess.Popen would have it: `pid`, `stdout`, `wait` and so on."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        umask = os.umask(0)
        os.umask(umask)
        request = {
            "arguments": [*arguments],
            "environment": dict(environment),
            "folder": str(folder),
            "umask": umask,
        }
        read, write = os.pipe()
        told, tells = os.pipe()
        with contextlib.ExitStack() as ends:
            ends.callback(os.close, write)
            ends.callback(os.close, tells)
            socket.send_fds(_origin(), [json.dumps(request).encode()], [write, tells])
        self.stdout = os.fdopen(read, encoding="utf-8")
        self.returncode: int | None = None
        # The child's id, and at its end its status.
        self._told = os.fdopen(told)
        self.pid = int(self._told.readline())
        self._alive = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal. Raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._alive], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("claude_api.py", timeout or 0)
            self.returncode = int(self._told.readline())
            self._told.close()
            os.close(self._alive)
        return self.returncode

    def send_signal(self, sign: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sign)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _origin() -> socket.socket:
    """The way to the process that servers are forked from. It ends when this end is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno())]
        # No terminal: its output would be buffered by lines, and a pipe's isn't.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _requests(way: socket.socket) -> dict[str, Any]:
    """Fork a child for each request; returns the request, in the child."""
    # Nobody waits for those who watch the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, descriptors, _, _ = socket.recv_fds(way, _LONGEST_REQUEST, 2)
        if not data:
            sys.exit(0)
        if os.fork() == 0:
            way.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            output, tells = descriptors
            child = os.fork()
            if child == 0:
                os.close(tells)
                return {**json.loads(data), "output": output}
            _watch(child, output, tells)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(child: int, output: int, tells: int) -> None:
    """Tell the child's id, wait for its end, and tell its status."""
    os.close(output)
    os.write(tells, f"{child}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(tells, f"{status}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Be what a fresh process would be."""
    os.setsid()
    os.umask(request["umask"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (request["output"], 1), (request["output"], 2)):
        os.dup2(descriptor, place)
    for descriptor in (nothing, request["output"]):
        if descriptor > 2:
            os.close(descriptor)
    sys.argv = [str(ROOT / "claude_api.py"), *request["arguments"]]
    tempfile.tempdir = None
    random.seed()


if __name__ == "__main__":
    # In place of this file's own folder.
    sys.path[0] = str(ROOT)
    from claude_server.app.main import main

    _become(_requests(socket.socket(fileno=int(sys.argv[1]))))
    sys.exit(main())
