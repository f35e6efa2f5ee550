"""`--reload`: a server for development, started anew whenever its source changes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.supervisors.basereload import BaseReload

_PACKAGE = Path(__file__).resolve().parents[1]

Serve = Callable[[socket.socket], int]


class _Supervisor(BaseReload):
    """Uvicorn's, with eyes of its own: a change made while the server starts counts too, and a new file."""

    def __init__(self, config: uvicorn.Config, serve: _Child, listener: socket.socket) -> None:
        super().__init__(config, serve, [listener])
        self.reloader_name = "--reload"
        self._seen = dict(_modified())

    def should_restart(self) -> list[Path] | None:
        self.pause()
        before, self._seen = self._seen, dict(_modified())
        return [file for file, when in self._seen.items() if before.get(file) != when] or None

    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        """The first one ends the loop, and with it the server. A second one goes on to the server, which then
        waits for nothing."""
        if self.should_exit.is_set() and self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGINT)
        super().signal_handler(sig, frame)


class _Child:
    """What runs in the supervised process. It can be pickled if `serve` can."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    def __call__(self, sockets: list[socket.socket] | None) -> None:
        # Out of the terminal's foreground group: Ctrl-C is the supervisor's, which passes it on as SIGTERM.
        # To the server the two would be a first and a second signal, and the second cuts the turns that run.
        os.setpgid(0, 0)
        threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
        assert sockets is not None
        raise SystemExit(self._serve(sockets[0]))


def _modified() -> Iterator[tuple[Path, float]]:
    """Every source file of the server's, and when it was changed last."""
    for file in _PACKAGE.rglob("*.py"):
        with contextlib.suppress(OSError):
            yield file, file.stat().st_mtime


def _end_with_the_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None
    wait([supervisor.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def supervise(serve: Serve, listener: socket.socket) -> int:
    """Run `serve` on `listener` in a process of its own, anew after each change, until SIGINT or SIGTERM.

    `serve` must be a module's function, or a partial of one. A server that ends by itself, such as for a
    mistake in the source, is started again at the next change. Returns the exit status.
    """
    config = uvicorn.Config("claude_server.app.main:create_app", factory=True, reload=True, log_config=None)
    _Supervisor(config, _Child(serve), listener).run()
    return 0
